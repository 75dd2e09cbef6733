import numpy as np
import pytest

from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.labels import LABEL_BY_ID, LABELS


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(seed) for seed in range(20)]


def test_it_is_deterministic_and_seeds_differ(scenes):
    again = render_scene(3)
    np.testing.assert_array_equal(again.photo, scenes[3].photo)
    np.testing.assert_array_equal(again.label_ids, scenes[3].label_ids)
    assert (scenes[4].label_ids != scenes[3].label_ids).mean() > 0.2


def test_arrays_are_as_documented(scenes):
    for scene in scenes:
        assert scene.photo.shape == (256, 512, 3) and scene.photo.dtype == np.uint8
        assert scene.label_ids.shape == (256, 512) and scene.label_ids.dtype == np.uint8
        assert set(np.unique(scene.label_ids)) <= set(LABEL_BY_ID)


def test_all_classes_are_well_represented(scenes):
    ids = np.stack([scene.label_ids for scene in scenes])
    for label in LABELS:
        if not label.ignore_in_eval:
            assert (ids == label.id).any(axis=(1, 2)).mean() >= 0.6, label.name
            assert (ids == label.id).mean() >= 0.003, label.name
    void = np.isin(ids, [label.id for label in LABELS if label.ignore_in_eval])
    assert 0.005 <= void.mean() <= 0.06


def test_it_takes_learning(scenes):
    """One mean colour a class, taken from the scenes themselves, does not tell classes apart."""
    photo = np.concatenate([scene.photo.reshape(-1, 3)[::17] for scene in scenes]).astype(float)
    ids = np.concatenate([scene.label_ids.ravel()[::17] for scene in scenes])
    present = np.unique(ids)
    means = np.stack([photo[ids == number].mean(axis=0) for number in present])
    nearest = present[((photo[:, None] - means) ** 2).sum(-1).argmin(1)]
    recall = [(nearest == ids)[ids == number].mean() for number in present]
    assert np.mean(recall) < 0.35


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 131), (64, 300), (301, 64)])
def test_any_size(height, width):
    scene = render_scene(2, height, width)
    assert scene.photo.shape == (height, width, 3) and scene.label_ids.shape == (height, width)


def test_the_same_scene_at_another_size():
    large, small = render_scene(5, 256, 512).label_ids, render_scene(5, 128, 256).label_ids
    assert (large[1::2, 1::2] == small).mean() > 0.95


def test_the_camera_drives_smoothly():
    still, little, far = (render_scene(5, camera=camera).label_ids for camera in (0.0, 0.25, 30.0))
    assert 0.85 < (still == little).mean() < 1
    assert (still == far).mean() < 0.8


def test_labels_lie_under_their_photograph(scenes):
    """Borders in the labels are borders in the photograph: the step across them is larger than beside them."""
    for scene in scenes[:5]:
        grey, ids = scene.photo.astype(float).mean(axis=2), scene.label_ids
        border = ids[:, 8:-9] != ids[:, 9:-8]

        def step(shift, grey=grey, border=border):
            left, right = grey[:, 8 + shift : -9 + shift], grey[:, 9 + shift : grey.shape[1] - 8 + shift]
            return np.abs(right - left)[border].mean()

        assert step(0) > 1.3 * max(step(-4), step(4))


@pytest.mark.parametrize("arguments", [dict(height=63), dict(width=10), dict(seed=-1)])
def test_arguments_are_checked(arguments):
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=f"`{name}` to be at least"):
        render_scene(**dict(seed=0) | arguments)
