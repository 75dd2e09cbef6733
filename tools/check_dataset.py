"""Check the data of a config before training: all problems at once, class counts, class weights, a histogram.

python tools/check_dataset.py configs/deeplabv3_focaldice.py --data-root data/cityscapes

Every photograph and label of the train, val and test sets is read once, as training will read it, by --num-workers
processes (default: one a core). Data that has not changed since the last check is not read again.
Exit code: 0 without errors (there may be warnings), 1 with errors, 2 for a wrong command line.
"""

import argparse
import sys

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config that training will use")
    _cli.add_config_options(parser)
    parser.add_argument(
        "--out",
        "--out-dir",
        dest="out_dir",
        metavar="DIR",
        help="where the results go (default: dataset/ in the work dir)",
    )
    parser.add_argument("--no-cache", action="store_true", help="read all files again, even if none has changed")
    parser.add_argument(
        "--max-listed", type=int, default=3, help="files named of each kind of problem (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = _cli.load(args)
    from cityseg_ext.apis.dataset_check import check_dataset
    from cityseg_ext.apis.dataset_report import class_table, problem_list, size_lines
    from cityseg_ext.checks import check_at_least

    check_at_least("max_listed", args.max_listed, 0)
    with _cli.progress_bar("reading images") as progress:
        check = check_dataset(
            cfg,
            out_dir=args.out_dir,
            use_cache=not args.no_cache,
            num_workers=args.num_workers,
            progress=progress,
        )
    statistics = check.statistics
    _cli.say(size_lines(statistics))
    if check.cached:
        _cli.say("No file has changed since the last check: these are its results (--no-cache reads all files again).")
    _cli.say(class_table(statistics))
    if statistics.problems:
        _cli.say(problem_list(statistics.problems, args.max_listed))
    _cli.say(f"Class histogram            {check.histogram}")
    for name, path in check.weights.items():
        _cli.say(f"{f'Class weights {name}':<26} {path}")
    warnings = len(statistics.problems) - statistics.errors
    _cli.say(f"{statistics.errors} errors, {warnings} warnings; all of them and the class counts are in {check.path}")
    if statistics.errors:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
