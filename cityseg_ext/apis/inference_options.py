"""Ways of testing that cost time and give better scores: augmented copies, and windows."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config

from cityseg_ext.apis.config_tree import walk_transforms
from cityseg_ext.checks import check_at_least, expected


def set_tta(cfg: Config, scales: Sequence[float] | None = None) -> None:
    """Average the predictions of augmented copies, as the config's ``tta_pipeline`` says.

    Args:
        cfg: the config to change.
        scales: sizes of the copies, as factors of the size in ``tta_pipeline``, each flipped and not; None leaves the
            sizes there as they are.

    Raises:
        ValueError: if the config has no ``tta_pipeline`` and ``tta_model``, or a scale is not above 0.
    """
    if "tta_pipeline" not in cfg or "tta_model" not in cfg:
        raise ValueError(expected("tta", "used with a config that has tta_pipeline and tta_model", cfg.filename))
    if scales is not None:
        _set_scales(cfg, scales)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(**cfg.tta_model, module=cfg.model)


def set_slide(cfg: Config, window: Sequence[int]) -> None:
    """Predict in windows that overlap by a third, and average where they do.

    Args:
        cfg: the config to change, before :func:`set_tta`.
        window: height and width, in pixels of the resized image.

    Raises:
        ValueError: if a side is no positive multiple of the model's ``size_divisor``.
    """
    # Whole images are padded to multiples of it; windows are taken as they are.
    divisor = (cfg.model.data_preprocessor.get("test_cfg") or {}).get("size_divisor") or 1
    if min(window) < 1 or any(side % divisor for side in window):
        rule = f"two positive multiples of {divisor}" if divisor > 1 else "two positive numbers"
        raise ValueError(expected("slide", f"{rule}, height and width", list(window)))
    stride = tuple(max(1, 2 * side // 3) for side in window)
    cfg.model.test_cfg = dict(mode="slide", crop_size=tuple(window), stride=stride)


def _set_scales(cfg: Config, scales: Sequence[float]) -> None:
    check_at_least("number of tta_scales", len(scales), 1)
    if not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(expected("tta_scales", "factors above 0", list(scales)))
    for wrapper in walk_transforms(cfg.tta_pipeline):
        if wrapper.type != "TestTimeAug":
            continue
        for place, choices in enumerate(wrapper.transforms):
            resize = next((part for part in choices if "scale" in part), None)
            if resize is not None:
                width, height = resize.scale
                wrapper.transforms[place] = [
                    dict(resize, scale=(max(1, round(width * scale)), max(1, round(height * scale))))
                    for scale in scales
                ]
                return
    raise ValueError(expected("tta_pipeline", "one whose TestTimeAug resizes to a `scale`", "none", "Add a Resize."))
