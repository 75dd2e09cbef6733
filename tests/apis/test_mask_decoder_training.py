import numpy as np
import pytest
import torch

from cityseg_ext.apis import mask_decoder_training
from cityseg_ext.apis.mask_decoder_training import DamagedPatches, train_mask_decoder
from cityseg_ext.functional.mask_decoder import EFFORTS, Effort, MaskDecoder
from cityseg_ext.labels import COLORS


def test_patches_are_damaged_masks_with_their_truth():
    patches = iter(DamagedPatches(num_scenes=1, size=48, seed=0))
    masks, truths = zip(*(next(patches) for _ in range(20)), strict=True)
    for mask, truth in zip(masks, truths, strict=True):
        assert mask.shape == (48, 48, 3) and truth.shape == (48, 48) and truth.max() < len(COLORS)
    colors = np.array(COLORS)[np.stack(truths)]
    off = np.abs(colors - np.stack(masks)).max(-1)
    assert np.median(off) < 12 and 0.02 < (off > 40).mean() < 0.5  # near the truth inside, mixed at borders
    again = next(iter(DamagedPatches(num_scenes=1, size=48, seed=0)))
    np.testing.assert_array_equal(again[0], masks[0])


def test_training_lowers_the_loss_and_writes_what_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(EFFORTS, "fast", Effort(8, 1, mirrored=False))
    losses = []
    path = train_mask_decoder(
        "fast",
        tmp_path / "new" / "weights.npz",
        steps=200,
        num_scenes=1,
        batch_size=4,
        patch_size=48,
        bf16=False,
        progress=lambda done, total, loss: losses.append(loss),
    )
    assert len(losses) == 200 and losses[-1] < 0.9 * losses[20]
    with np.load(path, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    MaskDecoder(8, 1).load_state_dict(state)


def test_the_shipped_weights_are_small_and_plain():
    folder = mask_decoder_training.Path(mask_decoder_training.__file__).parents[1] / "functional"
    for effort, (channels, depth, _) in EFFORTS.items():
        with np.load(folder / f"mask_decoder_{effort}.npz", allow_pickle=False) as arrays:
            expected = MaskDecoder(channels, depth).state_dict()
            assert {name: arrays[name].shape for name in arrays.files} == {
                n: tuple(v.shape) for n, v in expected.items()
            }
            assert all(arrays[name].dtype == np.float16 for name in arrays.files)
        assert (folder / f"mask_decoder_{effort}.npz").stat().st_size < 600_000


def test_wrong_options_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(mask_decoder_training, "DamagedPatches", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(ValueError, match="`effort` to be one of"):
        train_mask_decoder("quick", tmp_path / "a.npz")
    with pytest.raises(ValueError, match="`steps` to be at least 1"):
        train_mask_decoder("fast", tmp_path / "a.npz", steps=0)
    (tmp_path / "file").write_text("")
    for out, message in ((tmp_path, "`out` to be a file"), (tmp_path / "file" / "a.npz", "`out` to be a folder that")):
        with pytest.raises((OSError, ValueError), match=message):
            train_mask_decoder("fast", out)
