"""Show a run, or two side by side, on one page that opens anywhere: scores, curves, classes, best and worst images.

python tools/report.py work_dirs/deeplabv3_focaldice
python tools/report.py work_dirs/unet work_dirs/deeplabv3 --names UNet DeepLabV3 --out comparison

Curves come from the logs of training. Scores by class and by image, and pictures, come from a test:
python tools/test.py CONFIG CHECKPOINT --report
No model is needed here. The page is one file, and its charts and panels are beside it as PNGs.
"""

import argparse

import _cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="work dir of a run; one or two")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write; files of the same names in it are replaced "
        "(default: report in the work dir; for two runs report_with_<second> in the first)",
    )
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="what to call the runs (default: ends of their paths)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.report_html import write_report

    written = write_report(args.work_dirs, args.out, args.names)
    for notice in written.notices:
        _cli.say(f"Note: {notice}")
    _cli.say(f"Wrote {written.page}, and its {len(written.pictures)} pictures beside it")


if __name__ == "__main__":
    _cli.run(main)
