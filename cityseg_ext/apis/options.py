"""The options of the command line, in one table: what each is called, and which fields of the config it writes.

``tools/train.py --help``, ``docs/training.md`` and :func:`~cityseg_ext.apis.config.load_config` all take it from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from cityseg_ext.apis import data_options as data
from cityseg_ext.apis import training_options as training
from cityseg_ext.apis.ranks import set_fsdp
from cityseg_ext.apis.tracking import WANDB_MODES, set_tensorboard, set_wandb
from cityseg_ext.checks import did_you_mean, expected
from cityseg_ext.labels import LABEL_SUFFIXES


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as an argument of ``load_config``; on the command line with dashes.
        fields: the fields of the config that it writes.
        help: a sentence for ``--help``.
        apply: writes a value into a config; raises ValueError where it does not fit.
        argument: further arguments of argparse's ``add_argument``.
        everywhere: whether all scripts that read a config have it; else ``tools/train.py`` alone.
    """

    name: str
    fields: str
    help: str
    apply: Callable[[Config, Any], None]
    argument: dict[str, Any] = field(default_factory=dict)
    everywhere: bool = False

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name.replace('_', '-')}"


_NUMBER, _FLOAT = dict(type=int, metavar="N"), dict(type=float, metavar="X")
_FLAG = dict(action="store_true", default=None)
OPTIONS: tuple[Option, ...] = (
    Option(
        "data_root",
        "`dataset.data_root` of every loader",
        "folder that holds leftImg8bit and gtFine, or train and val of image pairs",
        data.set_data_root,
        dict(metavar="DIR"),
        everywhere=True,
    ),
    Option(
        "label_source",
        "`dataset.source` of every loader",
        "what the label files hold: gtFine_color, gtFine_labelIds or gtFine_labelTrainIds",
        data.set_label_source,
        dict(choices=list(LABEL_SUFFIXES)),
        everywhere=True,
    ),
    Option(
        "label_cache",
        "`cache_dir` of `LoadColorMaskAnnotations` in every pipeline",
        "keep decoded labels in this folder, so that each is decoded once and not once an epoch",
        data.set_label_cache,
        dict(metavar="DIR"),
        everywhere=True,
    ),
    Option(
        "image_size",
        "`scale` and `crop_size` in every pipeline, `data_preprocessor.size`",
        "height and width of what the model sees in training; resizing, crops and padding follow",
        data.set_image_size,
        dict(nargs=2, type=int, metavar=("H", "W")),
        everywhere=True,
    ),
    Option(
        "num_workers",
        "`num_workers` of every loader",
        "data loading processes",
        data.set_num_workers,
        _NUMBER,
        everywhere=True,
    ),
    Option(
        "batch_size",
        "`train_dataloader.batch_size`",
        "images a batch, on each process",
        data.set_batch_size,
        _NUMBER,
    ),
    Option(
        "filter_city",
        "`train_dataloader.dataset.cities`",
        "train on these city folders only; validation stays whole",
        data.set_filter_city,
        dict(nargs="+", metavar="CITY"),
    ),
    Option(
        "max_images",
        "`train_dataloader.dataset.max_images`",
        "train on the first N images only; validation stays whole",
        data.set_max_images,
        _NUMBER,
    ),
    Option(
        "on_error",
        "`train_dataloader.dataset.on_error`",
        "about a training sample that cannot be read: raise its error, or skip it, list it at the end and in "
        "bad_samples.jsonl, and take others in its place",
        data.set_on_error,
        dict(choices=["raise", "skip"]),
    ),
    Option(
        "weighted_sampler",
        "`train_dataloader.sampler`, the crop of `train_pipeline`",
        "draw images by the rarity of their classes and crop where these are, or each once and anywhere",
        data.set_weighted_sampler,
        dict(action="boolean"),
    ),
    Option(
        "num_epochs",
        "`train_cfg.max_epochs`, the schedule's `end`",
        "passes over the training set; learning-rate schedules are stretched",
        training.set_num_epochs,
        _NUMBER,
    ),
    Option(
        "num_iters",
        "`train_cfg.max_iters`, the schedule's `end`",
        "updates, where the config counts iterations; learning-rate schedules are stretched",
        training.set_num_iters,
        _NUMBER,
    ),
    Option(
        "scheduler",
        "`param_scheduler`",
        "learning rate after the warm-up: poly (power 0.9) or cosine to 0, or halved on a plateau of val/loss",
        training.set_scheduler,
        dict(choices=list(training.SCHEDULERS)),
    ),
    Option(
        "grad_accum_steps",
        "`optim_wrapper.accumulative_counts`",
        "one update every N batches; iteration-based lengths grow with it",
        training.set_grad_accum_steps,
        _NUMBER,
    ),
    Option("lr", "`optim_wrapper.optimizer.lr`", "learning rate after the warm-up", training.set_lr, _FLOAT),
    Option(
        "loss",
        "`loss_decode` of every head",
        "cross-entropy, or focal + Dice; class weights and factors stay",
        training.set_loss,
        dict(choices=list(training.LOSSES)),
    ),
    Option(
        "class_weight",
        "`loss_decode.class_weight` of every head",
        "enet, median_freq or effective (counted in the training labels), a JSON file, or none",
        training.set_class_weight,
        dict(metavar="NAME|FILE"),
    ),
    Option(
        "pretrained",
        "`model.backbone.init_cfg`",
        "'none' trains from scratch and releases frozen stages; a path or URL gives backbone weights",
        training.set_pretrained,
        dict(metavar="none|PATH"),
    ),
    Option(
        "freeze_stages",
        "`model.backbone.frozen_stages`",
        "stages that keep their pretrained weights: -1 none, 0 the stem, 1 also the first stage, ...",
        training.set_freeze_stages,
        _NUMBER,
    ),
    Option(
        "unet_width",
        "`model.backbone.base_channels`, channels of the heads",
        "channels of a UNet's first stage; each further stage doubles them",
        training.set_unet_width,
        _NUMBER,
    ),
    Option(
        "unet_depth",
        "`model.backbone.num_stages` and what goes with it, `data_preprocessor.size_divisor`",
        "stages of a UNet, at least 2",
        training.set_unet_depth,
        _NUMBER,
    ),
    Option(
        "amp",
        "`optim_wrapper.type`",
        "mixed precision: fp16 (CUDA only) or bf16; auto, or no value: fp16 on CUDA and bf16 elsewhere",
        training.set_amp,
        dict(nargs="?", const="auto", choices=list(training.PRECISIONS)),
    ),
    Option("fsdp", "`strategy`", "share out weights and optimiser state among processes", set_fsdp, _FLAG),
    Option("seed", "`randomness.seed`", "of weights, order, augmentation and dropout", training.set_seed, _NUMBER),
    Option(
        "deterministic",
        "`randomness.deterministic`, `env_cfg.cudnn_benchmark`",
        "only algorithms that repeat bit for bit; slower",
        training.set_deterministic,
        _FLAG,
    ),
    Option(
        "wandb",
        "`visualizer.vis_backends`, `custom_hooks`",
        "log to Weights & Biases too, with validation panels; offline writes files for `wandb sync`",
        set_wandb,
        dict(nargs="?", const="online", choices=list(WANDB_MODES)),
    ),
    Option(
        "tensorboard",
        "`visualizer.vis_backends`, `custom_hooks`",
        "log to TensorBoard too, with validation panels",
        lambda cfg, _: set_tensorboard(cfg),
        _FLAG,
    ),
)
"""All options, in the order in which they are written into a config."""


def apply_options(cfg: Config, options: dict[str, Any]) -> None:
    """Write options into a config.

    Args:
        cfg: the config; changed.
        options: name -> value; None means that the option was not given.

    Raises:
        TypeError: if there is no such option.
        ValueError: if an option does not fit the config.
    """
    names = [option.name for option in OPTIONS]
    for name in options:
        if name not in names:
            raise TypeError(expected("option", f"one of {names}", repr(name), did_you_mean(name, names)))
    for option in OPTIONS:
        value = options.get(option.name)
        if value is not None:
            option.apply(cfg, value)


def markdown_table() -> str:
    """The table of options for the documents."""
    rows = ["| option | what it does | fields of the config |", "|---|---|---|"]
    for option in OPTIONS:
        off = f", `--no-{option.flag[2:]}`" if option.argument.get("action") == "boolean" else ""
        rows.append(f"| `{option.flag}`{off} | {option.help} | {option.fields} |")
    return "\n".join(rows)
