"""Train several recipes under one equal budget, and compare their scores.

python benchmarks/training.py DATA_ROOT --suite losses --seeds 0 1 2        (a Cityscapes tree with colour masks)

The suite 'losses' changes the loss and the sampling of one small DeepLabV3; the suite 'family' takes every experiment
config, with a quarter to a half of the channels so that a CPU is enough. All runs of these make the same number of
steps of the same number of images of the same size, from scratch. The suite 'camvid' changes one thing at a time in
deeplabv3plus_r18_camvid.py; its runs have the length that makes them cost about the same time instead.

Scores are those after the last step, so that none was chosen: of val, or with --hold-out of a part of train that is not
trained on. Runs that are done are not made again: delete their folder in --out to repeat one.
"""

import argparse
import json
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
RESNET = {
    "model.backbone.base_channels": 32,
    "model.backbone.stem_channels": 32,
    "model.decode_head.in_channels": 1024,
    "model.decode_head.channels": 128,
    "model.auxiliary_head.in_channels": 512,
    "model.auxiliary_head.channels": 64,
}
V3PLUS = RESNET | {"model.decode_head.c1_in_channels": 128, "model.decode_head.c1_channels": 24}
CONVNEXT = {
    "model.backbone.arch": dict(_delete_=True, depths=(3, 3, 9, 3), channels=(48, 96, 192, 384)),
    "model.decode_head.in_channels": 384,
    "model.decode_head.channels": 128,
    "model.auxiliary_head.in_channels": 192,
    "model.auxiliary_head.channels": 64,
}
LAPTOP = dict(config="deeplabv3_r18_focaldice", fields=SMALL, lr=2e-3, scheduler="cosine")
UNET = dict(fields={}, unet_width=16)
CAMVID = dict(
    config="deeplabv3plus_r18_camvid", fields={}, image_size=(240, 320), num_epochs=16, lr=2e-3, class_weight="enet"
)
WIDE = {
    "model.backbone.base_channels": 64,
    "model.backbone.stem_channels": 64,
    "model.decode_head.in_channels": 512,
    "model.decode_head.channels": 128,
    "model.decode_head.c1_in_channels": 64,
    "model.auxiliary_head.in_channels": 256,
    # At stride 16 so many channels would cost three times as much as 32 do.
    "model.backbone.strides": (1, 2, 2, 2),
    "model.backbone.dilations": (1, 1, 1, 1),
}
SUITES = {
    "losses": {
        "CE": LAPTOP | dict(loss="ce"),
        "CE + weights": LAPTOP | dict(loss="ce", class_weight="enet"),
        "CE + sampler": LAPTOP | dict(loss="ce", weighted_sampler=True),
        "FocalDice": LAPTOP,
        "FocalDice + weights": LAPTOP | dict(class_weight="enet"),
        "FocalDice + sampler": LAPTOP | dict(weighted_sampler=True),
        "FocalDice + weights + sampler": LAPTOP | dict(class_weight="enet", weighted_sampler=True),
    },
    "family": {
        "deeplabv3_ce": dict(fields=RESNET),
        "deeplabv3_focaldice": dict(fields=RESNET),
        "deeplabv3_r101_focaldice": dict(fields=RESNET),
        "deeplabv3_convnext_focaldice": dict(fields=CONVNEXT),
        "deeplabv3_balanced": dict(fields=RESNET, grad_accum_steps=1),
        "deeplabv3plus_focaldice": dict(fields=V3PLUS),
        "deeplabv3plus_balanced": dict(fields=V3PLUS, grad_accum_steps=1),
        "deeplabv3plus_r50_80k": dict(fields=V3PLUS),
        "unet_ce": UNET,
        "unet_focaldice": UNET,
        "unet29_128": UNET,
    },
    "camvid": {
        "sampler + weights": CAMVID,
        "weights": CAMVID | dict(weighted_sampler=False),
        "sampler": CAMVID | dict(class_weight="none"),
        "twice the learning rate": CAMVID | dict(lr=4e-3),
        "three quarters of the size": CAMVID | dict(image_size=(180, 240), num_epochs=25),
        "64 channels, stride 32": CAMVID | dict(fields=WIDE, num_epochs=9),
    },
}
"""Run -> its config (by default named as the run), fields of it, and options as for tools/train.py."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root")
    parser.add_argument("--suite", choices=list(SUITES), default="losses", help="default: %(default)s")
    parser.add_argument("--only", nargs="+", metavar="RUN", help="these runs of the suite (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: %(default)s")
    parser.add_argument(
        "--hold-out", metavar="CITY", help="score this folder of train, and train on the others (default: score val)"
    )
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
                run(args, suite[name], name, folder, seed)
                print(f"{name}, seed {seed}: {folder / 'result.json'}", flush=True)
    print_table(args, names)


def run(args: argparse.Namespace, recipe: dict, name: str, folder: Path, seed: int) -> None:
    from cityseg_ext.apis import load_config, train
    from cityseg_ext.apis.manifest import MANIFEST, read_manifest
    from cityseg_ext.apis.run_log import read_run

    equal = dict(image_size=tuple(args.image_size), batch_size=args.batch_size, num_epochs=args.num_epochs)
    options = dict(config=name, num_workers=1, pretrained="none", seed=seed, amp="auto") | equal | recipe
    config, fields, epochs = options.pop("config"), options.pop("fields"), options["num_epochs"]
    by_epoch = not config.endswith("80k")
    if not by_epoch:
        options["num_iters"] = options.pop("num_epochs") * (count(args.data_root) // options["batch_size"])
    if args.hold_out is not None:
        options["filter_city"] = sorted(cities(args.data_root) - {args.hold_out})
    cfg = load_config(
        f"configs/{config}.py",
        data_root=args.data_root,
        work_dir=str(folder),
        cfg_options={
            **fields,
            **({"train_cfg.val_interval": epochs} if by_epoch else {}),
            **(held_out(args.hold_out) if args.hold_out is not None else {}),
            "train_dataloader.drop_last": True,
            "default_hooks.checkpoint.max_keep_ckpts": 1,
            "default_hooks.channels_last.type": "ChannelsLastHook",
        },
        **options,
    )
    start = time.process_time()
    result = train(cfg)
    cpu_minutes = (time.process_time() - start) / 60
    facts = dict(minutes=result.minutes, cpu_minutes=cpu_minutes, threads=torch.get_num_threads())
    known = read_manifest(folder / MANIFEST)
    facts |= {name: known[name] for name in ("commit", "versions", "hardware")}
    scores = read_run(result.scalars).validation[-1]
    (folder / "result.json").write_text(json.dumps(dict(scores=scores, **facts), indent=2))


def count(data_root: str) -> int:
    return sum(1 for _ in Path(data_root, "leftImg8bit", "train").rglob("*_leftImg8bit.*"))


def cities(data_root: str) -> set[str]:
    return {path.name for path in Path(data_root, "leftImg8bit", "train").iterdir()}


def held_out(city: str) -> dict[str, object]:
    """Fields that score a city of train."""
    dataset = "val_dataloader.dataset"
    return {
        f"{dataset}.data_prefix.img_path": "leftImg8bit/train",
        f"{dataset}.data_prefix.seg_map_path": "gtFine/train",
        f"{dataset}.cities": [city],
    }


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
