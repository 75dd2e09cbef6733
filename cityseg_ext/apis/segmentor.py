"""A config's segmentor, built to predict, and what the config says about its images and classes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, MODELS
from torch import nn

from cityseg_ext.apis.config_tree import dataloaders, heads, losses, walk_transforms
from cityseg_ext.checks import expected
from cityseg_ext.labels import CITYSCAPES_19, get_taxonomy


def build_segmentor(cfg: Config) -> nn.Module:
    """Build the model of a config on the CPU, ready to load weights and to predict.

    Pretrained weights are not looked for, and class weights of losses are left out: predictions need neither.

    Args:
        cfg: a config; not changed.

    Returns:
        The segmentor, in evaluation mode, with random weights.
    """
    cfg = Config(dict(model=copy.deepcopy(cfg.model)))
    for loss in losses(cfg):
        if loss.get("class_weight") is not None:
            loss.class_weight = None
    with DefaultScope.overwrite_default_scope("mmseg"):
        return revert_sync_batchnorm(MODELS.build(cfg.model)).eval()


@dataclass(frozen=True)
class Classes:
    """The classes that a model tells apart.

    Attributes:
        names: in the order of their indices.
        palette: an RGB colour each.
        taxonomy: the name of this package's table, if they are from one.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    taxonomy: str | None


def classes_of(cfg: Config) -> Classes:
    """The classes of a config's data set.

    Raises:
        ValueError: if they are not as many as the model has outputs.
    """
    dataset = dataloaders(cfg)[-1].dataset  # that of the test, if there is one
    kind = DATASETS.get(dataset.type)
    meta = dataset.get("metainfo") or getattr(kind, "METAINFO", None) or {}
    name = None
    if not meta.get("classes"):
        taxonomy = get_taxonomy(dataset.get("taxonomy", CITYSCAPES_19.name))
        meta, name = taxonomy.metainfo, taxonomy.name
    found = Classes(tuple(meta["classes"]), tuple(map(tuple, meta["palette"])), name)
    outputs = heads(cfg)[0].num_classes
    if not len(found.names) == len(found.palette) == outputs:
        raise ValueError(
            expected("model.decode_head.num_classes", f"{len(found.names)}, the classes of {dataset.type}", outputs)
        )
    return found


@dataclass(frozen=True)
class ImageSize:
    """To what size photographs are brought before they are predicted.

    Attributes:
        height: of the photograph, or of the frame that it is fitted into.
        width: likewise.
        keep_ratio: whether it is fitted into that frame, upright or turned; else it is squashed to it.
    """

    height: int
    width: int
    keep_ratio: bool


def predicted_size(cfg: Config) -> ImageSize | None:
    """What the config's ``test_pipeline`` resizes to; None if it does not."""
    for transform in walk_transforms(cfg.get("test_pipeline") or []):
        if transform.type == "Resize" and transform.get("scale") is not None:
            width, height = transform.scale
            return ImageSize(height, width, bool(transform.get("keep_ratio", False)))
    return None
