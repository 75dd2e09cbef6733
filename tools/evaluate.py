"""Score PNG files of class numbers against ground truth, without a model: the official Cityscapes scores and more.

python tools/evaluate.py predictions data/cityscapes/gtFine/val --json scores.json --boundary

Folders may be nested. <city>_<sequence>_<frame>*.png is paired with the ground truth of that name, other files with
those of the same name up to _gtFine_... or .png. Ground truth may be label ids, train ids or colour masks.
What every score means: docs/metrics.md. Exit code: 0 done, 2 wrong usage or bad files, 130 interrupted.
"""

import argparse

import _cli


def parse_args() -> argparse.Namespace:
    from cityseg_ext.labels import LABEL_SUFFIXES, TAXONOMIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("pred_dir", help="folder of predictions: grey PNG files of train ids (255: no class) or label ids")
    add("gt_dir", help="folder of ground truth")
    add("--pred-type", choices=["train_ids", "label_ids"], help="what predictions hold (default: told by their values)")
    add(
        "--gt-type",
        choices=list(LABEL_SUFFIXES),
        help="what ground truth holds (default: label ids, train ids or colours, the first there is)",
    )
    add(
        "--taxonomy",
        choices=list(TAXONOMIES),
        default="cityscapes19",
        help="classes to score and numbering of train ids; 29 classes are scored on the 19 too (default: %(default)s)",
    )
    add(
        "--iiou",
        action=argparse.BooleanOptionalAction,
        help="instance-weighted IoU, from *_gtFine_instanceIds.png beside the ground truth (default: if all are there)",
    )
    add("--boundary", action="store_true", help="boundary IoU, boundary F and recall of thin structures too (slower)")
    add("--csv", metavar="FILE", help="write the table here, unrounded")
    add("--json", metavar="FILE", help="write all scores and the confusion matrix here, unrounded, absent as null")
    add("--per-image", metavar="FILE", help="write the scores of every image here, as CSV")
    add("--workers", type=int, metavar="N", help="processes (default: all cores)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.evaluation import evaluate
    from cityseg_ext.apis.evaluation_report import as_table, check_reports, write_reports

    files = dict(csv=args.csv, json=args.json, per_image=args.per_image)
    check_reports(**files)
    names = ("pred_dir", "gt_dir", "pred_type", "gt_type", "taxonomy", "iiou", "boundary", "workers")
    with _cli.progress_bar("scoring") as progress:
        evaluation = evaluate(**{name: getattr(args, name) for name in names}, progress=progress)
    _cli.say(as_table(evaluation))
    written = write_reports(evaluation, **files)
    where = f" Wrote {', '.join(str(path) for path in written)}" if written else ""
    _cli.say(f"Scored {len(evaluation.images)} images of {args.pred_dir}.{where}")


if __name__ == "__main__":
    _cli.run(main)
