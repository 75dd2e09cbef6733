"""Ways of testing that cost time and may give better scores: augmented copies, windows, and refinement."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config
from mmseg.datasets.transforms import PackSegInputs

from cityseg_ext.apis.config_tree import walk_transforms
from cityseg_ext.checks import check_at_least, expected

REFINER = "DenseCRF"


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


def set_crf(cfg: Config) -> None:
    """Refine predictions, and score them before and after, on borders and thin structures too.

    Args:
        cfg: the config to change, after :func:`set_slide` and :func:`set_tta`. Its field ``refiner`` is the refiner's
            config, see :func:`refiner_of`.
    """
    cfg.refiner = refiner_of(cfg, crf=True)
    pipeline = cfg.test_dataloader.dataset.pipeline
    # The data sets know the first name as the second: see StreetDataset.
    loader = next((part for part in pipeline if part.type in ("LoadImageFromFile", "LoadStreetImage")), {})
    loader = dict(loader, type="LoadStreetImage", to_float32=False)
    cfg.model = dict(type="RefinedSegmentor", module=cfg.model, refiner=cfg.refiner, loader=loader)
    for part in walk_transforms(pipeline):
        if part.type == "PackSegInputs":  # of a file with photograph and mask the model must know the photograph's half
            part.meta_keys = (*part.get("meta_keys", PackSegInputs().meta_keys), "photo_half")
    evaluator = cfg.test_evaluator if isinstance(cfg.test_evaluator, Sequence) else [cfg.test_evaluator]
    if not any(metric.type == "StreetSceneMetric" for metric in evaluator):
        evaluator = [*evaluator, dict(type="StreetSceneMetric", scores=["boundary", "thin"])]
    # The loss tells nothing of the two: refined probabilities are near 0 and 1.
    before = [
        dict(type="BeforeRefinement", metric=metric) for metric in evaluator if metric["type"] != "ValidationLoss"
    ]
    cfg.test_evaluator = [*evaluator, *before]


def refiner_of(cfg: Config, crf: bool = False) -> dict | None:
    """The refiner that a config names, or, if it names none and ``crf`` is set, the dense CRF.

    Fields may be given without the type: ``--crf --cfg-options refiner.steps=10``.
    """
    fields = cfg.get("refiner")
    if fields is None and not crf:
        return None
    return dict(type=REFINER) | dict(fields or {})


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
