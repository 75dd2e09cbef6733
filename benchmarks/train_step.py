"""A training step of our config against the same model with mmseg's own pipeline and losses, in one run.

python benchmarks/train_step.py --synthetic                   (scenes of 1024x2048 are written to --work-dir)
python benchmarks/train_step.py --data-root CAMVID --image-size 360 480

Every way has the same DeepLabV3, optimiser, images, size of crops and batch. Ours reads colour masks; mmseg reads the
same labels as grey train ids, the only kind it knows, which are written for it from the label ids. The ways take
turns, step by step, in one process without loader workers, so that loading and computing can be told apart. Times are
the processor's (with a GPU: on the wall).
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import torch
from _side_by_side import clock, peak_memory, quartiles, synchronize
from mmengine.runner import Runner
from prettytable import PrettyTable

from cityseg_ext.apis import load_config, write_synthetic_cityscapes
from cityseg_ext.apis.config_tree import heads
from cityseg_ext.apis.provenance import hardware, versions
from cityseg_ext.functional.color_mask import decode_label_ids
from cityseg_ext.labels import CITYSCAPES_19, LABEL_SUFFIXES

CE = dict(type="CrossEntropyLoss", avg_non_ignore=True)
DICE = dict(type="DiceLoss", use_sigmoid=False)
IMAGES = 8  # few, so that the cache has all of them after a moment
WAYS = {
    "mmseg: CrossEntropyLoss": [CE],
    "mmseg: CrossEntropyLoss + DiceLoss": [CE, DICE],
    "ours, upsampled before the loss": None,
    "ours": None,
    "ours, labels cached": None,
}


class Way:
    """One way to train: a model, its optimiser and an endless stream of batches."""

    def __init__(self, name: str, args: argparse.Namespace, root: Path) -> None:
        cache = dict(label_cache=str(Path(args.work_dir, "labels"))) if "cached" in name else {}
        cfg = load_config(
            args.config,
            data_root=str(root),
            work_dir=args.work_dir,
            image_size=args.image_size and tuple(args.image_size),
            batch_size=args.batch_size,
            num_workers=0,
            **cache,
        )
        stock = WAYS[name]
        loader = cfg.train_dataloader
        loader.sampler = dict(type="InfiniteSampler", shuffle=False)
        if stock:
            loader.dataset = stock_dataset(cfg)
            for head, weight in zip(heads(cfg), (1.0, 0.4), strict=True):
                head.loss_decode = [loss | dict(loss_weight=weight) for loss in stock]
        loader.dataset.indices = IMAGES
        cfg.model.backbone.init_cfg = None
        if "before" in name:
            cfg.default_hooks.pop("fused_upsampling")
        cfg.update(experiment_name=name, log_level="ERROR", param_scheduler=None)
        for field in ("val_cfg", "val_dataloader", "val_evaluator", "test_cfg", "test_dataloader", "test_evaluator"):
            cfg[field] = None
        self.runner = Runner.from_cfg(cfg)
        self.model = self.runner.model.train()
        self.optimiser = self.runner.build_optim_wrapper(self.runner.optim_wrapper)
        self.batches = iter(self.runner.build_dataloader(loader))
        for hook in self.runner.hooks:
            if type(hook).__name__ == "FusedUpsamplingHook":
                hook.before_train(self.runner)

    def step(self) -> tuple[float, float]:
        """Seconds of loading a batch and of computing a step."""
        start = clock()
        batch = next(self.batches)
        loaded = clock()
        self.model.train_step(batch, self.optimiser)
        synchronize()
        return loaded - start, clock() - loaded

    def memory(self) -> float:
        """Bytes that a step needs at its worst moment, beside weights and optimiser."""
        batch = next(self.batches)
        return peak_memory(lambda: self.model.train_step(batch, self.optimiser))


def stock_dataset(cfg) -> dict:
    """mmseg's data set and pipeline, with the numbers of ours."""
    ours = {transform.type: transform for transform in cfg.train_dataloader.dataset.pipeline}
    resize = {name: value for name, value in ours["RandomResize"].items() if name != "resize_type"}
    names = ("RandomCrop", "RandomFlip", "PhotoMetricDistortion", "PackSegInputs")
    loading = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
    photo = next(Path(cfg.data_root, "leftImg8bit", "train").rglob("*_leftImg8bit.*"))
    return dict(
        type="CityscapesDataset",
        data_root=cfg.data_root,
        data_prefix=cfg.train_dataloader.dataset.data_prefix,
        img_suffix=f"_leftImg8bit{photo.suffix}",
        seg_map_suffix=LABEL_SUFFIXES["train_ids"],
        pipeline=[*loading, resize, *(ours[name] for name in names)],
    )


def with_train_ids(root: Path) -> Path:
    """Write the train ids that mmseg wants beside the label ids, where they are missing."""
    for path in root.rglob(f"*{LABEL_SUFFIXES['label_ids']}"):
        target = path.with_name(path.name.replace(LABEL_SUFFIXES["label_ids"], LABEL_SUFFIXES["train_ids"]))
        if not target.is_file():
            ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(target), decode_label_ids(ids, CITYSCAPES_19.id_to_index).indices)
    return root


def rows_of(times: dict[str, list[tuple[float, float]]], memory: dict[str, float], first: str) -> list[dict]:
    rows = []
    for name, steps in times.items():
        load, compute = ([step[part] for step in steps] for part in (0, 1))
        row = dict(way=name, load_ms=1000 * statistics.median(load), step_ms=1000 * statistics.median(compute))
        against = times[first]
        row["load_ratio"] = quartiles(load, [step[0] for step in against])
        row["step_ratio"] = quartiles(compute, [step[1] for step in against])
        row["whole_ratio"] = quartiles([sum(step) for step in steps], [sum(step) for step in against])
        rows.append(row | dict(peak_mb=memory[name] / 2**20))
    return rows


def print_table(rows: list[dict]) -> None:
    table = PrettyTable(["way", "load ms", "ratio", "compute ms", "ratio ", "whole, ratio", "peak MiB"], align="r")
    table.align["way"] = "l"
    show: Callable[[list[float]], str] = lambda ratio: "{1:.2f} ({0:.2f} to {2:.2f})".format(*ratio)  # noqa: E731
    for row in rows:
        load, compute, whole = (show(row[f"{name}_ratio"]) for name in ("load", "step", "whole"))
        cells = [f"{row['load_ms']:.0f}", load, f"{row['step_ms']:.0f}", compute, whole, f"{row['peak_mb']:.0f}"]
        table.add_row([row["way"], *cells])
    print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", default="configs/deeplabv3_r18_focaldice.py", help="default: %(default)s")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data-root", type=Path, help="a Cityscapes tree with colour masks and label ids")
    where.add_argument("--synthetic", action="store_true", help="write scenes of 1024x2048 and use them")
    add("--image-size", nargs=2, type=int, metavar=("H", "W"), help="default: the config's")
    add("--batch-size", type=int, default=2, help="default: %(default)s")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    add("--work-dir", default="work_dirs/benchmark_train_step", help="default: %(default)s")
    add("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    root = args.data_root
    if args.synthetic:
        root = write_synthetic_cityscapes(Path(args.work_dir, "scenes"), train=IMAGES, val=1, height=1024, width=2048)
    torch.set_num_threads(args.threads)
    ways = {name: Way(name, args, with_train_ids(root)) for name in WAYS}
    memory = {name: way.memory() for name, way in ways.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    warm_up = -(-IMAGES // args.batch_size)
    for number in range(warm_up + args.rounds):
        for name, way in ways.items():
            if number < warm_up:
                next(way.batches)
            else:
                times[name].append(way.step())
    rows = rows_of(times, memory, next(iter(ways)))
    print_table(rows)
    facts = dict(threads=args.threads, load=os.getloadavg()[0], hardware=hardware(), versions=versions())
    print(f"{args.rounds} rounds of {args.batch_size} images; {facts}")
    if args.json is not None:
        facts |= dict(config=args.config, image_size=args.image_size, batch_size=args.batch_size, rows=rows)
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
