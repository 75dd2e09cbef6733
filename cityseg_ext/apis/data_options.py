"""Options of the command line that change what is loaded, and how much of it.

Each function writes its value into a config, and raises ``ValueError`` where it does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from cityseg_ext.apis.config_tree import dataloaders, is_epoch_based, pipelines, walk_transforms
from cityseg_ext.checks import check_at_least, expected

LABEL_LOADING = "LoadColorMaskAnnotations"
BALANCED_SAMPLER, BALANCED_CROP = "ClassBalancedSampler", "ClassAwareCrop"


def _dataset(loader: ConfigDict, option: str, value: object) -> ConfigDict:
    """The data set of a loader, to be changed by an option; a wrapper such as ``ConcatDataset`` would not take it."""
    if "dataset" in loader.dataset or "datasets" in loader.dataset:
        rule = f"left out for a {loader.dataset.type}, whose data sets have fields of their own"
        cure = "Set them in the config, or with --cfg-options."
        raise ValueError(expected(option, rule, repr(value), cure))
    return loader.dataset


def set_data_root(cfg: Config, value: str) -> None:
    """Every data set."""
    cfg.data_root = value
    for loader in dataloaders(cfg):
        _dataset(loader, "data_root", value).data_root = value


def set_label_source(cfg: Config, value: str) -> None:
    """Every data set."""
    for loader in dataloaders(cfg):
        dataset = _dataset(loader, "label_source", value)
        if dataset.type == "CityscapesPairsDataset":
            rule = "left out for image pairs, in which labels are always colour masks"
            raise ValueError(expected("label_source", rule, repr(value)))
        dataset.source = value


def set_label_cache(cfg: Config, value: str) -> None:
    """Of every data set, validation too."""
    loading = [transform for transform in walk_transforms(pipelines(cfg)) if transform.type == LABEL_LOADING]
    if not loading:
        raise ValueError(
            expected("label_cache", f"used with a config whose pipelines have {LABEL_LOADING}", repr(value))
        )
    for transform in loading:
        transform.cache_dir = value


def set_image_size(cfg: Config, value: Sequence[int]) -> None:
    """What the model sees in training: crops and padding; resizing keeps its ratio to it."""
    height, width = value
    check_at_least("image_size", min(height, width), 1)
    before_height, before_width = cfg.get("image_size") or (None, None)
    cfg.image_size = (height, width)
    for transform in walk_transforms(pipelines(cfg)):
        if "scale" in transform:
            full_width, full_height = transform.scale
            transform.scale = (
                round(full_width * width / (before_width or full_width)),
                round(full_height * height / (before_height or full_height)),
            )
        if "crop_size" in transform:
            transform.crop_size = (height, width)
    if "size_divisor" not in cfg.model.data_preprocessor:  # that pads to multiples, whatever the size
        cfg.model.data_preprocessor.size = (height, width)


def set_batch_size(cfg: Config, value: int) -> None:
    """Of training only: validation takes images one by one, because they may differ in size."""
    check_at_least("batch_size", value, 1)
    cfg.train_dataloader.batch_size = value


def set_on_error(cfg: Config, value: str) -> None:
    """Of training only: what is validated and tested must be whole."""
    _dataset(cfg.train_dataloader, "on_error", value).on_error = value


def set_num_workers(cfg: Config, value: int) -> None:
    """Every data loader."""
    check_at_least("num_workers", value, 0)
    for loader in dataloaders(cfg):
        loader.num_workers = value


def set_filter_city(cfg: Config, value: Sequence[str]) -> None:
    """Of training only: scores of runs with other cities stay comparable."""
    dataset = _dataset(cfg.train_dataloader, "filter_city", list(value))
    if dataset.type == "CityscapesPairsDataset":
        raise ValueError(expected("filter_city", "left out for image pairs, which have no folder a city", list(value)))
    dataset.cities = list(value)


def set_max_images(cfg: Config, value: int) -> None:
    """Of training only: scores of runs of other lengths stay comparable."""
    check_at_least("max_images", value, 1)
    _dataset(cfg.train_dataloader, "max_images", value).max_images = value


def set_weighted_sampler(cfg: Config, value: bool) -> None:
    """Images by the rarity of what they hold, cropped where that is; or each once an epoch, cropped anywhere."""
    loader = cfg.train_dataloader
    balanced = loader.sampler.type == BALANCED_SAMPLER
    if value == balanced:
        if not value:
            rule = f"used with a config whose train_dataloader.sampler is a {BALANCED_SAMPLER}"
            raise ValueError(expected("no_weighted_sampler", rule, repr(loader.sampler.type)))
        return
    plain = "DefaultSampler" if is_epoch_based(cfg) else "InfiniteSampler"
    loader.sampler = dict(type=BALANCED_SAMPLER) if value else dict(type=plain, shuffle=True)
    before, after = ("RandomCrop", BALANCED_CROP) if value else (BALANCED_CROP, "RandomCrop")
    for transform in walk_transforms([cfg.get("train_pipeline", []), loader.dataset.get("pipeline", [])]):
        if transform.type == before:
            size = transform.crop_size
            transform.clear()
            transform.update(type=after, crop_size=size, **({} if value else dict(cat_max_ratio=0.75)))
