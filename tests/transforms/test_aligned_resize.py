import numpy as np
import pytest
from mmseg.registry import TRANSFORMS

from cityseg_ext.functional.label_resize import resize_labels


def sample():
    rng = np.random.default_rng(0)
    return dict(
        img=rng.integers(0, 255, (37, 53, 3), dtype=np.uint8),
        gt_seg_map=rng.integers(0, 19, (37, 53), dtype=np.uint8),
        seg_fields=["gt_seg_map"],
    )


@pytest.mark.parametrize(
    "options", [dict(scale=(40, 20)), dict(scale=(40, 20), keep_ratio=True), dict(scale_factor=1.7)], ids=str
)
def test_it_differs_from_mmcvs_resize_in_the_labels_only(options):
    ours = TRANSFORMS.build(dict(type="AlignedResize", **options))(sample())
    theirs = TRANSFORMS.build(dict(type="Resize", **options))(sample())
    assert set(ours) == set(theirs)
    for key in set(ours) - {"gt_seg_map"}:
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert ours["gt_seg_map"].shape == theirs["gt_seg_map"].shape == ours["img"].shape[:2]
    np.testing.assert_array_equal(ours["gt_seg_map"], resize_labels(sample()["gt_seg_map"], *ours["img"].shape[:2]))


def test_it_works_inside_random_resize():
    transform = dict(type="RandomResize", resize_type="AlignedResize", scale=(60, 40), ratio_range=(0.5, 2.0))
    results = TRANSFORMS.build(transform)(sample())
    assert results["gt_seg_map"].shape == results["img"].shape[:2]


def test_images_without_labels_pass():
    results = TRANSFORMS.build(dict(type="AlignedResize", scale=(40, 20)))(dict(img=sample()["img"]))
    assert results["img"].shape == (20, 40, 3)
