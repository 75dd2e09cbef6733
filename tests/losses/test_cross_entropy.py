import pytest
import torch
import torch.nn.functional as F

from cityseg_ext.labels import IGNORE_INDEX
from cityseg_ext.losses import FocalDiceLoss, WeightedCrossEntropyLoss


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0, 0.0, 3.0]])
def test_it_is_torchs_cross_entropy(weight):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 5, 9, 7, requires_grad=True), torch.randint(5, (2, 9, 7))
    target[:, 2:4] = IGNORE_INDEX
    ours = WeightedCrossEntropyLoss(class_weight=weight, loss_weight=0.4)(logits, target)
    (gradient,) = torch.autograd.grad(ours, logits)
    theirs = 0.4 * F.cross_entropy(logits, target, None if weight is None else torch.tensor(weight), ignore_index=255)
    (expected,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, expected)


def test_without_labelled_pixels_it_is_zero():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = WeightedCrossEntropyLoss(class_weight=[1.0, 2.0, 3.0])(logits, torch.full((1, 4, 4), IGNORE_INDEX))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_a_weighting_by_name_is_an_error_only_where_it_is_used():
    loss = FocalDiceLoss(class_weight="enet")
    with pytest.raises(
        ValueError, match="`class_weight` to be numbers .* by now, but got 'enet'. Train with tools/tra"
    ):
        loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long))
