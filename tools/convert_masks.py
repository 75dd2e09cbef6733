"""Convert colour masks, label ids or pairs to trainId (or labelId) PNGs: a whole tree, on all cores.

python tools/convert_masks.py data/cityscapes/gtFine data/masks
python tools/convert_masks.py data/cityscapes_pairs data/masks --source pairs
python tools/convert_masks.py data/cityscapes/gtFine data/cityscapes/gtFine --source label_ids --output-suffix official

<SRC>/<folders>/<stem>_gtFine_color.png becomes <DST>/<folders>/<stem>_mask.png. A second run does only what is missing.
Exit code: 0 all is well, 1 there were corrupt files (see the report), 2 wrong usage, 130 interrupted.
"""

import argparse
import sys

import _cli


def parse_args() -> argparse.Namespace:
    from cityseg_ext.functional.color_mask import MODES, UNCERTAIN_POLICIES
    from cityseg_ext.functional.mask_decoder import EFFORTS
    from cityseg_ext.labels import LABEL_SUFFIXES, PAIR_HALVES, TAXONOMIES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("src", help="folder of label files, at any depth")
    add("dst", help="folder of the masks; may be SRC or lie in it")
    add(
        "--source",
        choices=[*LABEL_SUFFIXES, "pairs"],
        default="color",
        help="what the files hold; pairs: photograph and colour mask side by side (default: %(default)s)",
    )
    add("--target", choices=["train_ids", "label_ids"], default="train_ids", help="default: %(default)s")
    add(
        "--taxonomy",
        choices=list(TAXONOMIES),
        default="cityscapes19",
        help="numbering of train ids (default: %(default)s)",
    )
    add(
        "--mode",
        choices=MODES,
        help="how colours are decoded; robust: for smoothed masks and JPEG (default: robust for pairs, else exact)",
    )
    add(
        "--uncertain",
        choices=UNCERTAIN_POLICIES,
        default="resolve",
        help="robust: mixed pixels in doubt get the most likely class, or become void (default: %(default)s)",
    )
    add("--effort", choices=EFFORTS, default="best", help="robust: how hard to look (default: %(default)s)")
    add("--half", choices=PAIR_HALVES, help="half of a pair that holds the mask (default: right)")
    add(
        "--unknown",
        choices=["ignore", "error"],
        default="ignore",
        help="colours and ids in no table: make them void and count them, or count the file as corrupt (default: "
        "%(default)s)",
    )
    add("--label-suffix", metavar="END", help="how label names end (default: as in Cityscapes; pairs: .jpg .jpeg)")
    add(
        "--output-suffix",
        metavar="END",
        default="_mask.png",
        help="how mask names end; 'official': _gtFine_labelTrainIds.png or _gtFine_labelIds.png (default: %(default)s)",
    )
    add(
        "--photos",
        metavar="FOLDER",
        help="report photographs there that have no label (default: leftImg8bit beside gtFine, if SRC is in one)",
    )
    add("--photo-suffix", metavar="END", help="how photograph names end (default: as in Cityscapes)")
    add("--max-images", type=int, metavar="N", help="only the first N files")
    add("--workers", type=int, metavar="N", help="processes (default: all cores)")
    add("--overwrite", action="store_true", help="redo everything, and replace other files under the names of masks")
    add("--report", metavar="FILE", help="JSON report of every file (default: DST/conversion.json)")
    add("--allow-errors", action="store_true", help="exit with 0 even if files were corrupt")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from cityseg_ext.apis.mask_conversion import convert_masks

    options = {name: value for name, value in vars(args).items() if name not in ("allow_errors", "output_suffix")}
    with _cli.progress_bar("converting") as progress:
        report = convert_masks(**options, suffix=args.output_suffix, progress=progress)
    counts, pixels = report.counts, report.pixels
    if pixels:
        kinds = ("exact", "resolved", "uncertain", "unknown")
        _cli.say("Pixels: " + ", ".join(f"{pixels[kind] / pixels['all']:.2%} {kind}" for kind in kinds))
    _cli.say(
        f"Converted {counts['converted']}, skipped {counts['skipped']} (already there), missing {counts['missing']}, "
        f"corrupt {counts['corrupt']}. Masks in {args.dst}, report in {report.path}"
    )
    if counts["corrupt"] and not args.allow_errors:
        sys.exit(1)


if __name__ == "__main__":
    _cli.run(main)
