"""What loading one image costs, part by part and way by way, in one thread.

python benchmarks/loading.py                      (a scene of 1024x2048 is written to --work-dir)
python benchmarks/loading.py --data-root CAMVID --scale 480 360

Each way of reading labels is checked against the others. Times are the processor's, the ways taking turns.
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
import numpy as np
from _side_by_side import clock
from mmengine.registry import init_default_scope
from mmseg.registry import TRANSFORMS
from PIL import Image
from prettytable import PrettyTable

import cityseg_ext.plugin  # noqa: F401
from cityseg_ext.apis import write_synthetic_cityscapes
from cityseg_ext.apis.provenance import hardware, versions
from cityseg_ext.functional.color_mask import decode_color_mask
from cityseg_ext.functional.label_resize import resize_labels
from cityseg_ext.labels import CITYSCAPES_19, LABEL_SUFFIXES

Ways = dict[str, Callable[[], object]]


def by_pillow(path: str) -> np.ndarray:
    return decode_color_mask(np.asarray(Image.open(path)), CITYSCAPES_19.color_to_index, "rgb").indices


def ways(root: Path, scale: tuple[int, int], cache: Path) -> Ways:
    """All parts of the pipeline of the configs, for one image of the tree; the dict's order is that of the table."""
    color = str(min(root.rglob(f"train/**/*{LABEL_SUFFIXES['color']}")))
    ids = color.replace(LABEL_SUFFIXES["color"], LABEL_SUFFIXES["label_ids"])
    stem = Path(color.replace(LABEL_SUFFIXES["color"], "").replace("gtFine", "leftImg8bit"))
    photo = next(stem.parent.glob(f"{stem.name}_leftImg8bit.*"))
    build = TRANSFORMS.build
    load_photo, load = build(dict(type="LoadStreetImage")), dict(type="LoadColorMaskAnnotations")
    readers = {
        "labels: colours by Pillow": lambda: by_pillow(color),
        "labels: colours (default)": reader(build(load), color, "color"),
        "labels: grey label ids": reader(build(load), ids, "label_ids"),
        "labels: colours from --label-cache": reader(build(load | dict(cache_dir=str(cache))), color, "color"),
    }
    labels = by_pillow(color)
    for name, read in readers.items():
        if (read() != labels).any() and "ids" not in name:  # ids tell pole from polegroup, colours do not
            raise SystemExit(f"'{name}' differs")
    pixels = load_photo(dict(img_path=str(photo)))["img"]
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    crop = tuple(reversed(scale))
    resize = dict(type="RandomResize", scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True)
    cropping = build(dict(type="RandomCrop", crop_size=crop, cat_max_ratio=0.75))
    distortion = build(dict(type="PhotoMetricDistortion"))

    def sample() -> dict:
        return dict(img=pixels, gt_seg_map=labels, seg_fields=["gt_seg_map"])

    aligned, plain = build(resize | dict(resize_type="AlignedResize")), build(resize)
    middle = build(dict(type="AlignedResize", scale=tuple(int(1.25 * side) for side in scale), keep_ratio=True))(
        sample()
    )
    small = dict(img=np.ascontiguousarray(middle["img"][: crop[0], : crop[1]]))
    return {
        f"photo: {photo.suffix[1:]} as it is": lambda: load_photo(dict(img_path=str(photo))),
        "photo: as JPEG of quality 95": lambda: cv2.imdecode(jpeg, cv2.IMREAD_COLOR),
        **readers,
        "RandomResize, AlignedResize": lambda: aligned(sample()),
        "RandomResize, mmseg's Resize": lambda: plain(sample()),
        "the same of the cropped window only": window(pixels, labels, scale),
        "RandomCrop": lambda: cropping(dict(middle)),
        "PhotoMetricDistortion": lambda: distortion(dict(small)),
    }


def reader(transform, path: str, source: str) -> Callable[[], np.ndarray]:
    return lambda: transform(dict(seg_map_path=path, label_source=source, seg_fields=[]))["gt_seg_map"]


def window(pixels: np.ndarray, labels: np.ndarray, scale: tuple[int, int]) -> Callable[[], None]:
    """What resizing would cost if crops were chosen before it: a bound for fusing the two."""

    def work() -> None:
        ratio = np.random.uniform(0.5, 2.0)
        factor = ratio * min(scale[0] / labels.shape[1], scale[1] / labels.shape[0])
        width, height = (
            min(side, round(factor * whole)) for side, whole in zip(scale, labels.shape[::-1], strict=True)
        )
        rows, columns = (round(side / factor) for side in (height, width))
        cv2.resize(pixels[:rows, :columns], (width, height))
        resize_labels(np.ascontiguousarray(labels[:rows, :columns]), height, width)

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data-root", type=Path, help="a Cityscapes tree with colour masks and label ids (default: a synthetic scene)")
    add("--scale", nargs=2, type=int, default=[1024, 512], metavar=("W", "H"), help="default: %(default)s")
    add("--rounds", type=int, default=30, help="default: %(default)s")
    add("--work-dir", type=Path, default=Path("work_dirs/benchmark_loading"), help="default: %(default)s")
    add("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    cv2.setNumThreads(0)  # as in a loader worker
    init_default_scope("mmseg")
    root = args.data_root or write_synthetic_cityscapes(args.work_dir / "scene", 1, 1, 1024, 2048)
    np.random.seed(0)
    work = ways(root, tuple(args.scale), args.work_dir / "labels")
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(args.rounds + 1):
        for name, way in work.items():
            start = clock()
            way()
            if number:
                times[name].append(1000 * (clock() - start))
    table = PrettyTable(["part", "median ms", "quartiles", "mean ms"], align="r")
    table.align["part"] = "l"
    rows = {}
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        rows[name] = dict(median_ms=median, quartiles_ms=[low, high], mean_ms=statistics.mean(values))
        table.add_row([name, f"{median:.1f}", f"{low:.1f} to {high:.1f}", f"{rows[name]['mean_ms']:.1f}"])
    print(table)
    facts = dict(load=os.getloadavg()[0], hardware=hardware(), versions=versions())
    print(f"{args.rounds} rounds; {facts}")
    if args.json is not None:
        args.json.write_text(json.dumps(facts | dict(rows=rows), indent=1) + "\n")


if __name__ == "__main__":
    main()
