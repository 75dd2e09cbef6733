"""Walking through a config: its data loaders, transforms, heads and losses."""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_PIPELINES = ("train_pipeline", "test_pipeline", "tta_pipeline")


def dataloaders(cfg: Config) -> list[ConfigDict]:
    """The data loaders that the config has; one that is switched off is None."""
    return [cfg[name] for name in LOADERS if cfg.get(name)]


def pipelines(cfg: Config) -> list:
    """All pipelines: those of the data sets, and those that are only named."""
    named = [cfg[name] for name in _PIPELINES if name in cfg]
    return named + [loader.dataset.pipeline for loader in dataloaders(cfg) if "pipeline" in loader.dataset]


def walk_transforms(node: object) -> Iterator[ConfigDict]:
    """All transforms of a pipeline, those inside wrappers too."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from walk_transforms(item)
    elif isinstance(node, dict) and "type" in node:
        yield node
        yield from walk_transforms(node.get("transforms", ()))


def heads(cfg: Config) -> list[ConfigDict]:
    """The decode heads and the auxiliary ones."""
    found = []
    for name in ("decode_head", "auxiliary_head"):
        head = cfg.model.get(name)
        if head is not None:
            found += list(head) if isinstance(head, (list, tuple)) else [head]
    return found


def losses(cfg: Config) -> list[ConfigDict]:
    """The losses of all heads."""
    found = []
    for head in heads(cfg):
        loss = head.get("loss_decode")
        if loss is not None:
            found += list(loss) if isinstance(loss, (list, tuple)) else [loss]
    return found


def is_epoch_based(cfg: Config) -> bool:
    """Whether the length of training is given in epochs; else it is in iterations."""
    return "max_epochs" in cfg.train_cfg
