import numpy as np
import pytest
import reference
import torch
from mmseg.registry import METRICS

CLASSES = ["road", "pole", "sky", "car"]


def build(**options):
    metric = METRICS.build(dict(type="DiceMetric", table=False, **options))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def sample(name, pred, target):
    return dict(
        img_path=name,
        pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
        gt_sem_seg=dict(data=torch.as_tensor(target)[None]),
    )


@pytest.fixture
def images():
    """Seven images of odd sizes with void; class 3 is absent everywhere."""
    rng = np.random.default_rng(0)
    shapes = [(9, 7), (8, 8), (1, 5), (20, 30), (4, 4), (13, 2), (6, 6)]
    return [(rng.integers(0, 3, shape), rng.choice([0, 1, 2, 255], shape)) for shape in shapes]


def evaluate(metric, images, batch_size=2, order=None):
    order = range(len(images)) if order is None else order
    samples = [sample(f"{index}.png", *images[index]) for index in order]
    for start in range(0, len(samples), batch_size):
        metric.process(None, samples[start : start + batch_size])
    return metric.evaluate(size=len(samples))


def test_values_equal_the_slow_reference(images):
    result = evaluate(build(), images)
    pred = np.concatenate([pred.ravel() for pred, _ in images])
    target = np.concatenate([target.ravel() for _, target in images])
    dice = [reference.dice(pred, target, index) for index in range(3)]
    iou = [reference.iou(pred, target, index) for index in range(3)]
    assert result["mDice"] == pytest.approx(np.mean(dice), abs=1e-15)
    assert result["mIoU"] == pytest.approx(np.mean(iou), abs=1e-15)
    for index, name in enumerate(CLASSES[:3]):
        assert result[f"Dice/{name}"] == dice[index] and result[f"IoU/{name}"] == iou[index]
    labelled = target != 255
    assert result["aAcc"] == (pred == target)[labelled].mean()
    recall = [(pred == target)[target == index].mean() for index in range(3)]
    assert result["mAcc"] == pytest.approx(np.mean(recall), abs=1e-15)
    per_image = [np.nanmean([reference.dice(p, t, index) for index in range(4)]) for p, t in images]
    assert result["mDice_per_image"] == pytest.approx(np.mean(per_image), abs=1e-15)


def test_absent_classes_have_no_value(images):
    assert "Dice/car" not in evaluate(build(), images)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_and_order_do_not_matter(images, batch_size):
    assert evaluate(build(), images, batch_size, order=[6, 2, 0, 5, 1, 3, 4]) == evaluate(build(), images)


def test_repeated_samples_count_once(images):
    assert evaluate(build(), images, order=[0, 1, 2, 3, 4, 5, 6, 0, 1]) == evaluate(build(), images)


def test_it_can_be_used_again(images):
    metric = build()
    assert evaluate(metric, images) == evaluate(metric, images)
    assert evaluate(metric, images[:2]) == evaluate(build(), images[:2])


def test_void_only_images_do_not_count(images):
    void = (np.zeros((3, 3), int), np.full((3, 3), 255))
    assert evaluate(build(), [*images, void]) == evaluate(build(), images)
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        evaluate(build(), [void])


def test_errors_name_the_image(images):
    pred, target = images[0]
    for bad, message in (
        ((pred, target[:, :-1]), r"shape \(9, 6\).*'0.png'"),
        ((pred, np.where(target == 0, 30, target)), r"`target`.*0 to 3.*30.*'0.png'"),
        ((pred, np.where(target == 0, 300, target)), r"`gt_sem_seg` to be 0 to 255.*300.*'0.png'"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(build(), [bad])
    with pytest.raises(ValueError, match="`gt_sem_seg` to be in the data sample of 'a.png'"):
        build().process(None, [dict(img_path="a.png", pred_sem_seg=dict(data=torch.zeros(1, 2, 2)))])


def test_names_are_known_before_the_run(images):
    metric = build()
    assert set(evaluate(metric, images)) <= set(metric.metric_names())
    prefixed = build(prefix="night")
    assert set(evaluate(prefixed, images)) <= set(prefixed.metric_names())


def test_the_table_says_how_many_classes_were_averaged(images, monkeypatch):
    lines = []
    monkeypatch.setattr("cityseg_ext.metrics.dice.print_log", lambda text, **_: lines.append(text))
    metric = METRICS.build(dict(type="DiceMetric"))
    metric.dataset_meta = dict(classes=CLASSES)
    evaluate(metric, images)
    assert "mean of 3 classes" in lines[0] and "1 absent classes (-) are left out" in lines[0]


def test_unknown_options_are_refused():
    with pytest.raises(TypeError):
        build(iou_metrics=["mIoU"])
