import pytest
import torch
from mmseg.registry import METRICS, MODELS

from cityseg_ext.functional.focal_dice import focal_dice


def build(*losses):
    metric = METRICS.build(dict(type="ValidationLoss"))
    metric.bind([MODELS.build(loss) for loss in losses])
    return metric


@pytest.fixture
def images():
    torch.manual_seed(0)
    images = [(torch.randn(4, 9, 7), torch.randint(0, 3, (9, 7))) for _ in range(5)]
    images[0][1][:4] = 255
    images[3][1][:] = 255
    return images


def evaluate(metric, images, order=None):
    order = range(len(images)) if order is None else order
    for index in order:
        logits, target = images[index]
        sample = dict(img_path=str(index), seg_logits=dict(data=logits), gt_sem_seg=dict(data=target[None]))
        metric.process(None, [sample])
    return metric.evaluate(size=len(list(order)))


def test_it_is_the_loss_of_one_batch_with_all_images(images):
    result = evaluate(build(dict(type="FocalDiceLoss")), images)
    logits, target = (torch.stack(part).double() for part in zip(*images, strict=True))
    expected = focal_dice(logits, target.long())
    assert set(result) == {"val/loss", "val/focal", "val/dice"}
    assert result["val/loss"] == pytest.approx(expected.total.item(), rel=1e-6)
    assert result["val/dice"] == pytest.approx(expected.dice.item(), rel=1e-6)


def test_cross_entropy_is_the_mean_over_labelled_pixels(images):
    result = evaluate(build(dict(type="CrossEntropyLoss", avg_non_ignore=True)), images)
    logits, target = (torch.stack(part) for part in zip(*images, strict=True))
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=255)
    assert result == {"val/loss": pytest.approx(expected.item(), rel=1e-6)}


def test_several_losses_add_up(images):
    losses = dict(type="FocalDiceLoss", loss_weight=0.5), dict(type="CrossEntropyLoss", avg_non_ignore=True)
    parts = [evaluate(build(loss), images)["val/loss"] for loss in losses]
    assert evaluate(build(*losses), images)["val/loss"] == pytest.approx(sum(parts))


def test_order_and_repetition_do_not_matter(images):
    metric = build(dict(type="FocalDiceLoss"))
    assert evaluate(metric, images, [4, 0, 3, 1, 2, 4, 0]) == evaluate(metric, images)


def test_it_says_when_nothing_was_bound(images):
    with pytest.raises(ValueError, match="PreflightHook"):
        evaluate(METRICS.build(dict(type="ValidationLoss")), images)


def test_it_says_when_there_are_no_logits():
    sample = dict(img_path="a", gt_sem_seg=dict(data=torch.zeros(1, 2, 2)))
    with pytest.raises(ValueError, match="`seg_logits` to be in the data sample of 'a'"):
        build(dict(type="FocalDiceLoss")).process(None, [sample])
