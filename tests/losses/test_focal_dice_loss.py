import pytest
import torch
from mmseg.registry import MODELS

from cityseg_ext.functional.focal_dice import focal_dice
from cityseg_ext.losses import FocalDiceLoss


def build(**options):
    return MODELS.build(dict(type="FocalDiceLoss", **options))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    target = torch.randint(0, 4, (2, 9, 7))
    target[0, :3] = 255
    return torch.randn(2, 4, 9, 7), target


@pytest.mark.parametrize(
    "options",
    [{}, dict(focal_weight=0.0), dict(dice_weight=0.0, gamma=0.0), dict(class_weight=[1, 2, 3, 4], absent="count")],
    ids=str,
)
def test_it_is_the_function(batch, options):
    loss = build(**options)(*batch, weight=None, ignore_index=255)
    weight = options.pop("class_weight", None)
    expected = focal_dice(*batch, class_weight=None if weight is None else torch.tensor(weight).float(), **options)
    torch.testing.assert_close(loss, expected.total)


def test_loss_weight_scales_the_total_but_not_the_logged_parts(batch):
    whole, half = build(), build(loss_weight=0.5)
    torch.testing.assert_close(half(*batch), 0.5 * whole(*batch))
    assert half.parts == whole.parts and set(half.parts) == {"focal", "dice"}
    assert not any(part.requires_grad for part in half.parts.values())
    assert whole(*batch).item() == pytest.approx(1.5 * whole.parts["focal"].item() + whole.parts["dice"].item())


def test_class_weights_move_with_the_model_but_are_not_saved():
    loss = build(class_weight=[1.0, 2.0])
    assert loss.state_dict() == {} and loss.double().class_weight.dtype == torch.float64


def test_disagreeing_ignore_index_is_refused(batch):
    with pytest.raises(ValueError, match="`ignore_index` to be 255, as FocalDiceLoss was given, but got 0"):
        build()(*batch, ignore_index=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("focal_weight", -1),
        ("dice_weight", float("nan")),
        ("gamma", -0.1),
        ("smooth", -1),
        ("loss_weight", -1),
        ("class_weight", [1, -1]),
        ("class_weight", [1, float("nan")]),
        ("dice_pool", "rank"),
        ("absent", "ignore"),
        ("loss_name", "focaldice"),
    ],
)
def test_options_are_checked_at_once(option, value):
    with pytest.raises(ValueError, match=f"`{option}"):
        build(**{option: value})


def test_no_unknown_keyword_is_swallowed(batch):
    with pytest.raises(TypeError, match="gama"):
        FocalDiceLoss(gama=1)
    with pytest.raises(TypeError, match="avg_non_ignore"):
        build()(*batch, avg_non_ignore=True)


def test_in_mmsegs_head_the_loss_is_counted_once():
    head = MODELS.build(
        dict(type="FCNHead", in_channels=8, channels=4, num_classes=3, in_index=0, num_convs=1, concat_input=False)
        | dict(loss_decode=dict(type="FocalDiceLoss"))
    )
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 3, (1, 8, 8))))
    losses = head.loss((torch.randn(1, 8, 4, 4),), [sample], {})
    assert [name for name in losses if "loss" in name] == ["loss_focaldice"]
