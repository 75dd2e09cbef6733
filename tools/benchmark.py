"""Show where the time of a training step goes, and how many loader workers are enough.

python tools/benchmark.py configs/deeplabv3_focaldice.py --data-root data/cityscapes
python tools/benchmark.py configs/deeplabv3_r18_focaldice.py --synthetic --batch-size 2 --steps 5

Trains for a few steps as tools/train.py would with the same options, and times every part: each transform of the
pipeline, collating, the copy to the device, normalising, forward, loss, backward, optimiser, hooks and log. Then the
same with 0, 1, 2, ... loader workers, until the model no longer waits for data. No weights are needed, nothing is
validated or kept. With --synthetic no data is needed either.
"""

import argparse
from pathlib import Path

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, such as configs/deeplabv3_focaldice.py")
    parser.add_argument(
        "--steps", type=int, default=10, metavar="N", help="steps timed in a run (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up", type=int, default=3, metavar="N", help="steps before them, not timed (default: %(default)s)"
    )
    parser.add_argument(
        "--synthetic",
        action="store_true",
        help="built-in street scenes of 1024x2048 instead of the data (pairs: 256x256), written below the work dir",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for step.json and step.png (default: <work dir>/benchmark)"
    )
    _cli.add_config_options(parser, training=True)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from rich.console import Console

    from cityseg_ext.apis.step_benchmark import benchmark_step, use_synthetic_scenes
    from cityseg_ext.apis.step_report import as_dict, as_tables, conclusion, write_step_report
    from cityseg_ext.checks import expected
    from cityseg_ext.whole_file import check_writable

    data_root = cfg.train_dataloader.dataset.get("data_root")  # wrappers have none
    if not args.synthetic and data_root is not None and not Path(data_root).is_dir():
        cure = "Without data, measure on built-in scenes: --synthetic."
        raise FileNotFoundError(expected("data_root", "an existing folder", repr(data_root), cure))
    out = args.out or str(Path(cfg.work_dir, "benchmark"))
    check_writable("out", out)
    if args.synthetic:
        with _cli.progress_bar("writing scenes") as progress:
            use_synthetic_scenes(cfg, progress)
    with _cli.progress_bar("training steps") as progress:
        found = benchmark_step(cfg, args.steps, args.warm_up, progress)
    values = as_dict(found, cfg)
    console = Console()
    for table in as_tables(values):
        console.print(table)
    _cli.say(conclusion(values))
    data, picture = write_step_report(values, out)
    _cli.say(f"Wrote {data} and {picture}")


if __name__ == "__main__":
    _cli.run(main)
