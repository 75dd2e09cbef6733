"""Make a submission for the Cityscapes benchmark: predict, check, zip, and on val score. Or check any submission.

python tools/cityscapes_submit.py CONFIG CHECKPOINT --split test --out submissions/mine
python tools/cityscapes_submit.py --check somebodys.zip

Label maps of official ids go to --out, one for each photograph in <data root>/leftImg8bit/<split>; the zip to upload
goes beside that folder. It is written only if nothing is wrong with them. Run the same line again after an
interruption: what is there is not predicted again. What is checked, and the way to the server: docs/submission.md.
Exit code: 0 all is well, 1 the check found errors, 2 wrong usage, 130 interrupted.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable

import _cli
import _prediction

Progress = Callable[[str, int, int], None]


def parse_args() -> argparse.Namespace:
    from cityseg_ext.labels import SPLIT_CITIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help=_prediction.CONFIG_HELP)
    parser.add_argument("checkpoint", nargs="?", help="checkpoint file; only tensors are read from it")
    add = parser.add_argument
    add("--data-root", metavar="DIR", help="folder that holds leftImg8bit (default: the config's)")
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
    add("--batch-size", type=int, default=1, metavar="N", help="photographs at once (default: %(default)s)")
    add("--overwrite", action="store_true", help="predict everything again; replace label maps of another model")
    _prediction.add_prediction_options(parser)
    args = parser.parse_args()
    if args.checkpoint is None:  # the first of two that may both be missing takes the only one
        args.config, args.checkpoint = None, args.config
    if args.check is None and not (args.checkpoint and args.out):
        parser.error("give [CONFIG] CHECKPOINT and --out; or --check")
    if args.check is not None and (args.checkpoint or args.out):
        parser.error("--check goes without CONFIG, CHECKPOINT and --out")
    args.size = tuple(args.size) if args.size else None
    return args


def check(args: argparse.Namespace, progress: Progress) -> bool:
    """Check somebody's submission; True if it is well."""
    from cityseg_ext.apis.submission_check import check_submission
    from cityseg_ext.apis.submission_photos import find_photos

    photos = find_photos(args.data_root, args.split) if args.data_root else None
    found = check_submission(
        args.check, args.split, args.size, photos, lambda done, total: progress("checking", done, total)
    )
    _cli.say(found)
    return not found.errors


def make(args: argparse.Namespace, progress: Progress) -> bool:
    """Make a submission; True if it is well."""
    from cityseg_ext.apis.evaluation_report import as_table
    from cityseg_ext.apis.submission import make_submission

    cfg, options = _prediction.predictor_of(args, data_root=args.data_root)
    options |= {name: getattr(args, name) for name in ("size", "batch_size", "overwrite")}
    made = make_submission(cfg, args.checkpoint, args.out, args.split, progress=progress, **options)
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
    with contextlib.ExitStack() as stack:
        bars: dict[str, Callable[[int, int], None]] = {}

        def progress(what: str, done: int, total: int) -> None:
            """A bar for each thing that is done; they are done one after the other."""
            if what not in bars:
                bars[what] = stack.enter_context(_cli.progress_bar(what))
            bars[what](done, total)

        well = (make if args.check is None else check)(args, progress)
    if not well:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
