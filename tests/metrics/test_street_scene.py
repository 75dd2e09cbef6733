import cv2
import numpy as np
import pytest
import reference
import torch
from mmseg.registry import METRICS

from cityseg_ext.functional.boundary_scores import width_in_pixels
from cityseg_ext.functional.cityscapes_scores import NUM_IDS, cityscapes_scores, instance_sums
from cityseg_ext.functional.confusion import confusion_counts
from cityseg_ext.functional.records import add_up
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, INSTANCE_SUFFIX, LABEL_SUFFIXES

END = LABEL_SUFFIXES["label_ids"]


def build(taxonomy=CITYSCAPES_19, **options):
    metric = METRICS.build(dict(type="StreetSceneMetric", **options))
    metric.dataset_meta = taxonomy.metainfo
    return metric


@pytest.fixture
def images(tmp_path):
    """Five images of odd sizes with void, and instance files; some classes are absent."""
    rng, samples = np.random.default_rng(0), []
    used = [CITYSCAPES_19.classes.index(name) for name in ("road", "pole", "sky", "person", "car")]
    for index in range(5):
        shape = (12 + index, 20 - index)
        target = rng.choice([*used, 255], (shape[0], -(-shape[1] // 4))).repeat(4, 1)[:, : shape[1]]
        logits = rng.normal(size=(19, *shape)).astype(np.float32)
        logits[0] += 1
        np.put_along_axis(logits, np.where(target == 255, 0, target)[None], 3.0, 0)
        ids = np.array([CITYSCAPES_19.index_to_id[k] if k != 255 else 0 for k in target.flat]).reshape(shape)
        objects = np.where(ids >= 24, 1000 * ids + ids % 2, ids)
        cv2.imwrite(str(tmp_path / f"{index}{INSTANCE_SUFFIX}"), objects.astype(np.uint16))
        samples.append(
            dict(
                img_path=f"{index}.png",
                seg_map_path=str(tmp_path / f"{index}{END}"),
                seg_logits=dict(data=torch.as_tensor(logits)),
                pred_sem_seg=dict(data=torch.as_tensor(logits.argmax(0))[None]),
                gt_sem_seg=dict(data=torch.as_tensor(target)[None]),
            )
        )
    return samples


def evaluate(metric, samples, batch_size=2):
    for start in range(0, len(samples), batch_size):
        metric.process(None, samples[start : start + batch_size])
    return metric.evaluate(size=len(samples))


def maps(sample):
    return tuple(sample[name]["data"][0].numpy().astype(np.uint8) for name in ("pred_sem_seg", "gt_sem_seg"))


def test_values_equal_those_of_the_functions(images):
    result = evaluate(build(), images)
    ids = np.zeros(256, np.uint8)
    ids[: CITYSCAPES_19.num_classes] = CITYSCAPES_19.index_to_id
    pairs = [tuple(ids[part] for part in maps(sample)) for sample in images]
    objects = [cv2.imread(s["seg_map_path"].replace(END, INSTANCE_SUFFIX), cv2.IMREAD_UNCHANGED) for s in images]
    scores = cityscapes_scores(
        sum(confusion_counts(*pair, NUM_IDS) for pair in pairs),
        add_up([instance_sums(pair[0], part) for pair, part in zip(pairs, objects, strict=True)]),
    )
    assert {name: result[f"official/{name}"] for name in scores.means} == scores.means
    one = evaluate(build(), images[:1])
    pred, target = maps(images[0])
    pole = CITYSCAPES_19.classes.index("pole")
    width = width_in_pixels(target.shape, 0.005)
    assert one["BoundaryIoU/pole"] == reference.boundary_iou(pred, target, pole, width)
    thin = reference.thin_structures(target, width) & (target == pole)
    assert one.get("ThinRecall/pole", 0) == ((pred == target)[thin].mean() if thin.any() else 0)
    probabilities = images[0]["seg_logits"]["data"].softmax(0).numpy()
    assert one["ECE"] == pytest.approx(reference.calibration_error(probabilities, target, 15), abs=1e-6)


def test_batches_order_repetition_and_reuse_do_not_matter(images):
    metric = build()
    first = evaluate(metric, images)
    curve = metric.reliability
    assert curve.pixels.sum() == sum((maps(sample)[1] != 255).sum() for sample in images)
    assert first == evaluate(metric, images[::-1], batch_size=3)
    metric = build()
    for sample in [*images, images[1]]:
        metric.process(None, [sample])
    assert metric.evaluate(size=6) == first


def test_names_are_known_before_the_run_and_no_value_is_nan(images):
    metric = build()
    result = evaluate(metric, images)
    assert set(result) <= set(metric.metric_names())
    assert not any(np.isnan(value) for value in result.values())
    assert "BoundaryIoU/pole" in result and "ThinRecall/train" not in result
    assert all(name.startswith("night/") for name in build(prefix="night").metric_names())


def test_only_what_is_asked_for_is_computed(images):
    for sample in images:
        del sample["seg_logits"]
    assert set(evaluate(build(scores=["thin"]), images)) <= set(build(scores=["thin"]).metric_names())
    with pytest.raises(ValueError, match="`seg_logits`"):
        evaluate(build(), images)
    with pytest.raises(ValueError, match="`scores`.*Did you mean 'boundary'"):
        build(scores=["boundry"])


def test_colour_masks_give_no_official_scores_and_say_why(images, monkeypatch):
    lines = []
    monkeypatch.setattr("cityseg_ext.metrics.street_scene.print_log", lambda text, **_: lines.append(text))
    images[2]["seg_map_path"] = f"x{LABEL_SUFFIXES['color']}"
    result = evaluate(build(), images)
    assert not any(name.startswith("official") for name in result) and "ECE" in result
    assert "1 of 5 images" in lines[0] and "polegroup" in lines[0]


def test_without_all_instance_files_there_is_no_iiou(images, monkeypatch):
    lines = []
    monkeypatch.setattr("cityseg_ext.metrics.street_scene.print_log", lambda text, **_: lines.append(text))
    complete = evaluate(build(), images)
    images[0]["seg_map_path"] = f"elsewhere{END}"
    result = evaluate(build(), images)
    assert "official/miIoU" not in result and result["official/mIoU"] == complete["official/mIoU"]
    assert "1 of 5 images have no *_gtFine_instanceIds.png" in lines[0]


@pytest.mark.parametrize("content", [b"", b"no PNG"])
def test_instance_files_that_cannot_be_read_are_named(images, tmp_path, content):
    (tmp_path / f"0{INSTANCE_SUFFIX}").write_bytes(content)
    with pytest.raises(ValueError, match=r"0_gtFine_instanceIds.png.* to be a readable map of instance ids"):
        evaluate(build(), images)


def test_29_classes_are_scored_on_the_19(images):
    parking, road = (CITYSCAPES_29.classes.index(name) for name in ("parking", "road"))
    target = np.full((4, 5), road)
    pred = target.copy()
    pred[0], target[3] = parking, parking
    sample = dict(images[0], seg_map_path=f"x{END}")
    sample["pred_sem_seg"], sample["gt_sem_seg"] = (dict(data=torch.as_tensor(part)[None]) for part in (pred, target))
    result = evaluate(build(CITYSCAPES_29, scores=["official"]), [sample])
    assert result["official/mIoU"] == 10 / 15  # a row called parking is missed; a row that is parking is void


def test_errors_name_the_image(images):
    images[1]["gt_sem_seg"]["data"] = images[1]["gt_sem_seg"]["data"][..., 1:]
    with pytest.raises(ValueError, match=r"shape .*The image is '1.png'"):
        evaluate(build(), images)
    images[0]["gt_sem_seg"]["data"] = torch.full((1, 12, 20), 255)
    with pytest.raises(ValueError, match="at least one labelled pixel"):
        evaluate(build(), images[:1])
