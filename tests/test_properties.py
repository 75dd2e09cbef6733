"""What must hold for all input: colour decoding, loss, counts, resizing, and the check of submissions."""

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cityseg_ext.apis.submission_check import check_submission
from cityseg_ext.functional import row_stream
from cityseg_ext.functional.color_mask import MODES, decode_color_mask, decode_label_ids, encode_color_mask
from cityseg_ext.functional.confusion import confusion_counts
from cityseg_ext.functional.focal_dice import FocalDiceSums, focal_dice, focal_dice_from_sums, focal_dice_sums
from cityseg_ext.functional.focal_dice_plain import plain_focal_dice_sums
from cityseg_ext.functional.label_resize import resize_labels
from cityseg_ext.labels import CITYSCAPES_19, CITYSCAPES_29, IGNORE_INDEX, SPLIT_CITIES

settings.register_profile(
    "quick",
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("quick")

sides = st.integers(1, 24)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def palettes(draw):
    """Distinct colours, one of which may be void: colour -> index."""
    colors = draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=40, unique=True))
    table = dict(zip(colors, range(len(colors)), strict=True))
    if len(colors) > 1 and draw(st.booleans()):
        table[colors[-1]] = IGNORE_INDEX
    return table


@given(palettes(), sides, sides, seeds, st.sampled_from(["rgb", "bgr"]), st.sampled_from(["exact", "nearest"]))
def test_decoding_undoes_painting(palette, height, width, seed, order, mode):
    colors, indices = np.array(list(palette), np.uint8), np.array(list(palette.values()), np.uint8)
    chosen = np.random.default_rng(seed).integers(0, len(colors), (height, width)).astype(np.uint8)
    mask = encode_color_mask(chosen, colors)
    decoded = decode_color_mask(mask if order == "rgb" else mask[..., ::-1], palette, order, mode)
    assert (decoded.indices == indices[chosen]).all() and not decoded.unknown and decoded.exact == chosen.size


@given(sides, sides, seeds, st.sampled_from(MODES), st.booleans(), st.sampled_from(["resolve", "ignore"]))
@settings(max_examples=60)
def test_every_pixel_of_any_picture_is_counted_once(height, width, seed, mode, alpha, uncertain):
    rng = np.random.default_rng(seed)
    colors = np.array(list(CITYSCAPES_19.color_to_index), np.uint8)
    mask = colors[rng.integers(0, len(colors), (height, width))]
    strange = rng.random((height, width)) < 0.3
    mask[strange] = rng.integers(0, 256, (strange.sum(), 3))
    if alpha:
        mask = np.dstack([mask, rng.choice([0, 255], (height, width)).astype(np.uint8)])
    options = dict(mode=mode, effort="fast", **(dict(uncertain=uncertain) if mode == "robust" else {}))
    decoded = decode_color_mask(mask, CITYSCAPES_19.color_to_index, "rgb", **options)
    unknown = sum(decoded.unknown.values())
    assert decoded.exact + decoded.resolved + decoded.uncertain + unknown == height * width
    assert set(np.unique(decoded.indices)) <= set(CITYSCAPES_19.color_to_index.values()) | {IGNORE_INDEX}
    if mode == "exact":  # pixels do not look at each other
        order = rng.permutation(height)
        again = decode_color_mask(mask[order], CITYSCAPES_19.color_to_index, "rgb")
        assert (again.indices == decoded.indices[order]).all()


@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.int64]),
    st.dictionaries(st.integers(0, 255), st.integers(0, 253), max_size=20),
    seeds,
)
def test_ids_of_any_width_are_looked_up(dtype, table, seed):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    ids = rng.integers(limits.min, limits.max, (5, 7), dtype, endpoint=True)
    ids[rng.random(ids.shape) < 0.7] = 0
    ids.flat[: len(table)] = list(table)[: ids.size]
    decoded = decode_label_ids(ids, table)
    assert decoded.indices.tolist() == [[table.get(int(value), IGNORE_INDEX) for value in row] for row in ids]
    assert sum(decoded.unknown.values()) == sum(int(value) not in table for value in ids.flat)


@st.composite
def batches(draw, scale=None):
    """Logits (N, C, H, W), targets with void (N, H, W), and class weights or None."""
    generator = torch.Generator().manual_seed(draw(seeds))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(1, 7), st.integers(1, 7)))
    scale = scale or draw(st.sampled_from([0.1, 3.0, 30.0]))
    logits = torch.randn(shape, generator=generator) * scale
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    target[torch.rand(target.shape, generator=generator) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = IGNORE_INDEX
    weight = torch.rand(shape[1], generator=generator) + 0.1 if draw(st.booleans()) else None
    return logits, target, weight


losses = st.fixed_dictionaries(
    dict(
        gamma=st.sampled_from([0.0, 1.0, 2.0, 3.5]),
        dice_pool=st.sampled_from(["batch", "image"]),
        absent=st.sampled_from(["skip", "count"]),
    )
)


def value_and_gradient(logits, target, weight, options):
    logits = logits.clone().requires_grad_()
    total = focal_dice(logits, target, class_weight=weight, **options).total
    total.backward()
    return total.detach(), logits.grad


@given(batches(), losses, st.sampled_from([torch.nan, torch.inf, 1e4, -5.0]))
def test_void_does_nothing(batch, options, other):
    logits, target, weight = batch
    void = (target == IGNORE_INDEX)[:, None].expand_as(logits)
    value, gradient = value_and_gradient(logits, target, weight, options)
    changed = value_and_gradient(torch.where(void, other, logits), target, weight, options)
    assert torch.equal(value, changed[0]) and torch.equal(gradient, changed[1])
    assert (gradient[void] == 0).all()


@given(batches(scale=1e4), losses, st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_value_and_gradient_are_finite(batch, options, dtype):
    logits, target, weight = batch
    value, gradient = value_and_gradient(logits.clamp(-1e4, 1e4).to(dtype), target, weight, options)
    assert value.isfinite() and value >= 0 and gradient.isfinite().all()


@given(batches(), losses)
def test_the_fused_sums_are_the_plain_ones(batch, options):
    logits, target, weight = batch
    sums = dict(gamma=options["gamma"], class_weight=weight)
    fused, plain = focal_dice_sums(logits, target, **sums), plain_focal_dice_sums(logits, target, **sums)
    for ours, theirs in zip(fused, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@given(batches(), losses)
def test_a_batch_is_the_sum_of_its_images(batch, options):
    logits, target, weight = batch
    rest = {name: value for name, value in options.items() if name != "gamma"}
    parts = [
        focal_dice_sums(logits[n : n + 1], target[n : n + 1], gamma=options["gamma"], class_weight=weight)
        for n in range(len(logits))
    ]
    together = FocalDiceSums(*(torch.cat(part) for part in zip(*parts, strict=True)))
    total = focal_dice_from_sums(together, class_weight=weight, **rest).total
    torch.testing.assert_close(total, focal_dice(logits, target, class_weight=weight, **options).total)


@given(batches(), losses, seeds)
def test_the_order_of_classes_images_and_pixels_does_not_matter(batch, options, seed):
    logits, target, weight = batch
    generator = torch.Generator().manual_seed(seed)
    images, classes, rows = (torch.randperm(logits.shape[axis], generator=generator) for axis in (0, 1, 2))
    renamed = torch.where(target == IGNORE_INDEX, target, classes.argsort()[target.clamp(max=len(classes) - 1)])
    moved = logits[images][:, classes][:, :, rows]
    changed = focal_dice(
        moved, renamed[images][:, rows], class_weight=None if weight is None else weight[classes], **options
    )
    torch.testing.assert_close(changed.total, focal_dice(logits, target, class_weight=weight, **options).total)


@given(sides, sides, st.integers(1, 255), seeds)
def test_counts_add_up(height, width, classes, seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, (height, width)).astype(np.uint8)
    target[rng.random(target.shape) < 0.2] = IGNORE_INDEX
    pred = rng.integers(0, classes, (height, width)).astype(np.uint8)
    counts = confusion_counts(pred, target, classes)
    slow = np.zeros((classes, classes), int)
    labelled = target != IGNORE_INDEX
    np.add.at(slow, (target[labelled], pred[labelled]), 1)
    assert (counts == slow).all() and counts.sum() == labelled.sum()
    parts = [
        confusion_counts(pred[rows], target[rows], classes)
        for rows in np.array_split(np.arange(height), 3)
        if len(rows)
    ]
    assert (sum(parts) == counts).all()
    order = rng.permutation(height)
    assert (confusion_counts(pred[order], target[order], classes) == counts).all()
    assert (confusion_counts(target[labelled][None], pred[labelled][None], classes) == counts.T).all()


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(1, 9), st.integers(1, 200), st.booleans(), seeds)
def test_strips_are_the_whole(sources, size, step, strip, align_corners, seed):
    whole = torch.rand(3, *sources, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_stream, "STRIP", strip)
        rows = list(row_stream.resized_rows(whole.split(step, dim=1), sources[0], size, align_corners))
    expected = F.interpolate(whole[None], size, mode="bilinear", align_corners=align_corners)[0]
    torch.testing.assert_close(torch.cat(rows, dim=1), expected)


@given(st.tuples(sides, sides), st.tuples(sides, sides), seeds)
def test_resizing_labels_invents_no_class(sources, size, seed):
    labels = np.random.default_rng(seed).integers(0, 256, sources).astype(np.uint8)
    assert set(np.unique(resize_labels(labels, *size))) <= set(np.unique(labels))


SIZE = (5, 9)


def label_map(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG", **options)
    return data.getvalue()


@st.composite
def submissions(draw):
    """Label maps of val, name -> bytes, and the names of their photographs."""
    rng = np.random.default_rng(draw(seeds))
    ids = np.array(draw(st.sampled_from([CITYSCAPES_19, CITYSCAPES_29])).index_to_id, np.uint8)
    numbers = draw(st.lists(st.integers(0, 999999), min_size=1, max_size=3, unique=True))
    keys = [f"{draw(st.sampled_from(SPLIT_CITIES['val']))}_000000_{number:06d}" for number in numbers]
    ending, level = draw(st.sampled_from(["", "_pred_labelIds", "_x y"])), draw(st.integers(0, 9))
    folder = draw(st.sampled_from(["", "deep/er/"]))
    maps = [label_map(ids[rng.integers(0, len(ids), SIZE)], compress_level=level) for _ in keys]
    return {f"{folder}{key}{ending}.png": data for key, data in zip(keys, maps, strict=True)}, keys


def errors(files, keys, as_zip=False):
    """How many kinds of errors there are in a folder, or a zip, of these files."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "maps")
        if as_zip:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
        else:
            for name, data in files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
        return check_submission(path, "val", SIZE, dict.fromkeys(keys, "")).errors


@given(submissions(), st.booleans())
def test_good_submissions_are_good(submission, as_zip):
    assert errors(*submission, as_zip) == 0


def _other_byte(data, files, name):
    at = data.draw(st.integers(0, len(files[name]) - 1))
    changed = files[name][at] ^ data.draw(st.integers(1, 255))
    files[name] = files[name][:at] + bytes([changed]) + files[name][at + 1 :]


def _cut(data, files, name):
    files[name] = files[name][: data.draw(st.integers(0, len(files[name]) - 1))]


def _gone(data, files, name):
    del files[name]
    files.setdefault("other.txt", b"")  # a folder of nothing is another matter


def _twice(data, files, name):
    files[f"again/{name}"] = files[name]


def _renamed(data, files, name):
    files[name.replace("_000000_", "_000001_")] = files.pop(name)


def _another_size(data, files, name):
    size = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)).filter(lambda size: size != SIZE))
    files[name] = label_map(np.full(size, 7, np.uint8))


def _no_id(data, files, name):
    pixels = np.full(SIZE, 7, np.uint8)
    pixels.flat[data.draw(st.integers(0, pixels.size - 1))] = data.draw(st.integers(34, 255))
    files[name] = label_map(pixels)


def _another_kind(data, files, name):
    pixels = Image.fromarray(np.full(SIZE, 7, np.uint8)).convert(data.draw(st.sampled_from(["RGB", "RGBA", "LA", "1"])))
    files[name] = label_map(np.asarray(pixels))


FAULTS = [_other_byte, _cut, _gone, _twice, _renamed, _another_size, _no_id, _another_kind]


@given(submissions(), st.sampled_from(FAULTS), st.booleans(), st.data())
@settings(max_examples=200)
def test_any_single_fault_in_a_submission_is_found(submission, fault, as_zip, data):
    files, keys = submission
    fault(data, files, data.draw(st.sampled_from(sorted(files))))
    assert errors(files, keys, as_zip) > 0
