"""Make a submission for the Cityscapes benchmark: predict, check, zip, and on val score. Or check any submission.

python tools/cityscapes_submit.py CONFIG CHECKPOINT --split test --out submissions/mine
python tools/cityscapes_submit.py --check somebodys.zip

Label maps of official ids go to --out, one for each photograph in <data root>/leftImg8bit/<split>; the zip to upload
goes beside that folder. It is written only if nothing is wrong with them. Run the same line again after an
interruption: what is there is not predicted again. What is checked, and the way to the server: docs/submission.md.
Exit code: 0 all is well, 1 the check found errors, 2 wrong usage, 130 interrupted.
"""

import argparse
import sys

import _cli


def parse_args() -> argparse.Namespace:
    from cityseg_ext.labels import SPLIT_CITIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="the config that the checkpoint was trained with")
    parser.add_argument("checkpoint", nargs="?", help="checkpoint file; only tensors are read from it")
    add = parser.add_argument
    add("--split", choices=list(SPLIT_CITIES), default="test", help="default: %(default)s")
    add("--out", metavar="DIR", help="folder of the label maps; the zip is DIR.zip")
    add(
        "--check",
        metavar="DIR|ZIP",
        help="only check this; without --data-root by number, cities and values, with it against its photographs",
    )
    add(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="height and width of label maps (default: 1024 2048; on val those of each photograph)",
    )
    add("--tta", action="store_true", help="average the predictions of flipped copies too")
    add("--tta-scales", nargs="+", type=float, metavar="X", help="as --tta, with copies of these sizes too")
    add("--slide", nargs=2, type=int, metavar=("H", "W"), help="predict in windows of this size that overlap")
    add("--batch-size", type=int, default=1, metavar="N", help="photographs at once (default: %(default)s)")
    add("--overwrite", action="store_true", help="predict everything again; replace label maps of another model")
    _cli.add_config_options(parser)
    _cli.add_trust_option(parser)
    args = parser.parse_args()
    if args.check is None and not (args.config and args.checkpoint and args.out):
        parser.error("give CONFIG, CHECKPOINT and --out; or --check")
    if args.check is not None and (args.config or args.out):
        parser.error("--check goes without CONFIG, CHECKPOINT and --out")
    args.size = tuple(args.size) if args.size else None
    return args


def check(args: argparse.Namespace, progress) -> bool:
    """Check somebody's submission; True if it is well."""
    from cityseg_ext.apis.submission_check import check_submission
    from cityseg_ext.apis.submission_photos import find_photos

    photos = find_photos(args.data_root, args.split) if args.data_root else None
    found = check_submission(
        args.check, args.split, args.size, photos, lambda done, total: progress("checking", done, total)
    )
    _cli.say(found)
    return not found.errors


def make(args: argparse.Namespace, progress) -> bool:
    """Make a submission; True if it is well."""
    cfg = _cli.load(args)
    from cityseg_ext.apis.evaluation_report import as_table
    from cityseg_ext.apis.submission import make_submission

    options = {name: getattr(args, name) for name in ("size", "tta", "tta_scales", "slide", "batch_size", "overwrite")}
    options |= dict(trust=args.trust_checkpoint, progress=progress)
    made = make_submission(cfg, args.checkpoint, args.out, args.split, **options)
    _cli.say(made.check)
    if made.evaluation is not None:
        _cli.say(as_table(made.evaluation))
    if made.zip is None:
        _cli.say(f"{made.images} label maps in {made.folder} ({made.predicted} new); no zip: see the errors above.")
        return False
    size = made.zip.stat().st_size / 1e6
    _cli.say(
        f"{made.images} label maps in {made.folder} ({made.predicted} new), checked; "
        f"zip: {made.zip} ({size:.1f} MB, sha256 {made.digest})"
    )
    return True


def main() -> None:
    args = parse_args()
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    tasks: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, visible=done < total)
        if bar.console.is_terminal:
            bar.start()  # not before: scoring forks workers first, and a bar has a thread
        if done == total:
            stop()

    def stop() -> None:
        if bar.live.is_started:
            bar.stop()

    try:
        well = (make if args.check is None else check)(args, progress)
    finally:
        stop()
    if not well:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
