"""Train several recipes under one equal budget, and compare their scores.

python benchmarks/training.py DATA_ROOT --suite losses --seeds 0 1 2        (a Cityscapes tree with colour masks)

The suite 'losses' changes the loss and the sampling of one small DeepLabV3; the suite 'family' takes every experiment
config, with a quarter to a half of the channels so that a CPU is enough. All runs of a suite make the same number of
steps of the same number of images of the same size, from scratch, and are scored after the last step, so that no score
was chosen. Runs that are done are not made again: delete their folder in --out to repeat one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

THIN = ("pole", "traffic sign", "person")
SMALL = {
    # The last stage of ResNet-18 costs most: left out, as in `make demo`.
    "model.backbone.num_stages": 3,
    "model.backbone.strides": (1, 2, 1),
    "model.backbone.dilations": (1, 1, 2),
    "model.backbone.out_indices": (0, 1, 2),
    "model.decode_head.in_channels": 128,
    "model.decode_head.in_index": 2,
    "model.auxiliary_head.in_channels": 64,
    "model.auxiliary_head.in_index": 1,
}
_LOSSES = dict(config="deeplabv3_r18_focaldice", options=dict(lr=2e-3, scheduler="cosine"), fields=SMALL)
SUITES = {
    "losses": {
        "CE": dict(loss="ce"),
        "FocalDice": dict(loss="focaldice"),
        "CE + weights": dict(loss="ce", class_weight="enet"),
        "FocalDice + weights": dict(loss="focaldice", class_weight="enet"),
        "CE + sampler": dict(loss="ce", weighted_sampler=True),
        "FocalDice + sampler": dict(loss="focaldice", weighted_sampler=True),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root")
    parser.add_argument("--suite", choices=list(SUITES), default="losses", help="default: %(default)s")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="these runs of the suite (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: %(default)s")
    parser.add_argument("--num-epochs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--image-size", nargs=2, type=int, default=[180, 240], metavar=("H", "W"))
    parser.add_argument("--batch-size", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--out", default="work_dirs/benchmark_training", help="default: %(default)s")
    parser.add_argument(
        "--table-only", action="store_true", help="make no runs; print the table of those that are done"
    )
    args = parser.parse_args()
    suite = SUITES[args.suite]
    names = args.only or list(suite)
    for name in names:
        if name not in suite:
            parser.error(f"expected --only to be among {list(suite)}, but got {name!r}")
    for seed in args.seeds:
        for name in names:
            folder = Path(args.out, f"{args.suite}_{name.replace(' ', '_')}_{seed}")
            if not args.table_only and not (folder / "result.json").is_file():
                run(args, suite[name], folder, seed)
                print(f"{name}, seed {seed}: {folder / 'result.json'}", flush=True)
    print_table(args, names)


def run(args: argparse.Namespace, changes: dict, folder: Path, seed: int) -> None:
    from cityseg_ext.apis import load_config, train
    from cityseg_ext.apis.run_log import read_run

    cfg = load_config(
        f"configs/{_LOSSES['config']}.py",
        data_root=args.data_root,
        work_dir=str(folder),
        image_size=tuple(args.image_size),
        batch_size=args.batch_size,
        num_epochs=args.num_epochs,
        num_workers=1,
        pretrained="none",
        seed=seed,
        amp="auto",
        cfg_options={
            **_LOSSES["fields"],
            "train_cfg.val_interval": args.num_epochs,
            "default_hooks.checkpoint.max_keep_ckpts": 1,
            "default_hooks.channels_last.type": "ChannelsLastHook",
        },
        **{**_LOSSES["options"], **changes},
    )
    start = time.process_time()
    result = train(cfg)
    cpu_minutes = (time.process_time() - start) / 60
    scores = read_run(result.scalars).validation[-1]
    facts = dict(minutes=result.minutes, cpu_minutes=cpu_minutes, threads=torch.get_num_threads(), **provenance())
    (folder / "result.json").write_text(json.dumps(dict(scores=scores, **facts), indent=2))


def provenance() -> dict:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    return dict(commit=commit, torch=torch.__version__, device=device)


def print_table(args: argparse.Namespace, names: list[str]) -> None:
    columns = ("mDice", "mIoU", "aAcc", *(f"Dice/{name}" for name in THIN))
    print(f"| recipe | runs | {' | '.join(columns)} | CPU minutes |\n|{'---|' * (len(columns) + 3)}")
    for name in names:
        files = [Path(args.out, f"{args.suite}_{name.replace(' ', '_')}_{seed}", "result.json") for seed in args.seeds]
        done = [json.loads(file.read_text()) for file in files if file.is_file()]
        if not done:
            continue
        cells = [spread([100 * run["scores"].get(column, 0.0) for run in done]) for column in columns]
        minutes = np.mean([run["cpu_minutes"] for run in done])
        print(f"| {name} | {len(done)} | {' | '.join(cells)} | {minutes:.1f} |")


def spread(values: list[float]) -> str:
    """Mean and, of several runs, standard deviation."""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
