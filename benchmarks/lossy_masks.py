"""How well masks that were smoothed and saved as JPEG are decoded, and how fast.

python benchmarks/lossy_masks.py                        (built-in scenes, rendered as pairs of 256 x 256)
python benchmarks/lossy_masks.py --pairs DIR [DIR ...]  (<n>.jpg: photo | mask; beside it <n>_truth.png: class indices)
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from PIL import Image
from prettytable import PrettyTable

from cityseg_ext.apis.mask_damage import damage_mask
from cityseg_ext.apis.synthetic_cityscapes import UNSEEN_SEEDS, paint_label_ids
from cityseg_ext.functional.boundary import border_band
from cityseg_ext.functional.color_mask import decode_color_mask, encode_color_mask
from cityseg_ext.functional.lossy_mask import nearest_classes
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.labels import CITYSCAPES_19, COLORS, IGNORE_INDEX

TABLE = CITYSCAPES_19.color_to_index
PLACE, ZOOM = (92, 150, 44), 7  # top, left and side of what the picture shows
THIN = [CITYSCAPES_19.classes.index(name) for name in ("pole", "traffic sign", "person")]
Pair = tuple[np.ndarray, np.ndarray]  # mask (H, W, 3) RGB, class indices (H, W)


def within_24(mask: np.ndarray) -> np.ndarray:
    """The class of the nearest colour if no channel is off by more than 24, else void."""
    colors = np.array(list(TABLE), np.uint8)
    nearest = nearest_classes(mask, {color: place for place, color in enumerate(TABLE)})
    off = cv2.absdiff(mask, colors[nearest]).max(2)
    return np.where(off <= 24, np.array(list(TABLE.values()), np.uint8)[nearest], np.uint8(IGNORE_INDEX))


def nearest_then_mode(mask: np.ndarray) -> np.ndarray:
    """The nearest colour's class, and on pixels of a mixed colour the most frequent one of 3 x 3."""
    nearest = nearest_classes(mask, TABLE)
    present = np.unique(nearest)
    votes = np.stack([cv2.boxFilter((nearest == value).astype(np.float32), -1, (3, 3)) for value in present])
    return np.where(within_24(mask) != nearest, present[votes.argmax(0)], nearest)


def ours(mask: np.ndarray, **options: str) -> np.ndarray:
    return decode_color_mask(mask, TABLE, "rgb", **options).indices


DECODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exact match, rest 255": partial(ours, mode="exact"),
    "within 24 a channel, rest 255": within_24,
    "nearest colour": partial(ours, mode="nearest"),
    "nearest + 3x3 mode": nearest_then_mode,
    "robust, fast": partial(ours, mode="robust"),
    "robust, best": partial(ours, mode="robust", effort="best"),
}


def synthetic_pairs(number: int, filter_name: str, quality: int, subsampling: str) -> Iterator[Pair]:
    """Scenes that no training has seen, squeezed to 256 x 256 and damaged."""
    for seed in range(number):
        sharp = paint_label_ids(render_scene(UNSEEN_SEEDS + seed, 512, 1024).label_ids)
        classes = decode_color_mask(sharp, TABLE, "rgb").indices
        truth = cv2.resize(classes, (256, 256), interpolation=cv2.INTER_NEAREST_EXACT)
        yield damage_mask(sharp, 256, 256, filter_name, quality, subsampling), truth


def stored_pairs(folder: Path) -> Iterator[Pair]:
    for path in sorted(folder.rglob("*.jpg")):
        picture = np.asarray(Image.open(path))
        truth = np.asarray(Image.open(path.with_name(f"{path.stem}_truth.png")))
        yield np.ascontiguousarray(picture[:, picture.shape[1] // 2 :]), truth


def score(pairs: list[Pair], decode: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Per cent: right overall, right within 3 px of borders, third classes there, IoU of thin classes; ms a mask."""
    right = total = band_right = band_total = third = 0
    both, either = np.zeros(len(THIN)), np.zeros(len(THIN))
    times = []
    for mask, truth in pairs:
        start = time.perf_counter()
        found = decode(mask)
        times.append(time.perf_counter() - start)
        band = border_band(truth, 3)
        right, total = right + (found == truth).sum(), total + truth.size
        band_right, band_total = band_right + (found == truth)[band].sum(), band_total + band.sum()
        near = np.zeros_like(band)  # within 3 rows and columns, the class that was found does exist
        for value in np.unique(found):
            near |= (found == value) & (cv2.dilate((truth == value).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
        third += (band & ~near & (found != IGNORE_INDEX)).sum()
        for place, value in enumerate(THIN):
            both[place] += ((found == value) & (truth == value)).sum()
            either[place] += ((found == value) | (truth == value)).sum()
    shares = [right / total, band_right / band_total, third / band_total, *(both / np.maximum(either, 1))]
    return [100 * float(share) for share in shares] + [1000 * statistics.median(times)]


def show(title: str, pairs: list[Pair]) -> None:
    names = [CITYSCAPES_19.classes[index] for index in THIN]
    table = PrettyTable(["decoder", "overall", "border band", "third class", *names, "ms"], align="r")
    table.align["decoder"] = "l"
    for name, decode in DECODERS.items():
        decode(pairs[0][0])  # tables and weights are made at the first call
        table.add_row([name, *(f"{value:.1f}" for value in score(pairs, decode))])
    print(f"\n{title}: {len(pairs)} masks of {pairs[0][0].shape[1]}x{pairs[0][0].shape[0]}\n{table}")


def picture() -> np.ndarray:
    """A zoomed border of a scene that no training has seen: what the file holds, three ways to decode it, the truth."""
    (mask, truth), *_ = list(synthetic_pairs(1, "area", 90, "4:2:0"))
    top, left, side = PLACE
    tiles = []
    for title, indices in (
        ("the file: JPEG, quality 90", None),
        ("exact colours only, rest void", ours(mask, mode="exact")),
        ("nearest colour", ours(mask, mode="nearest")),
        ("mode='robust'", ours(mask, mode="robust", effort="best")),
        ("truth", truth),
    ):
        colors = mask if indices is None else encode_color_mask(indices, CITYSCAPES_19.palette)
        zoomed = colors[top : top + side, left : left + side].repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
        head = np.full((26, zoomed.shape[1], 3), 255, np.uint8)
        cv2.putText(head, title, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        tiles += [np.vstack([head, zoomed]), np.full((26 + side * ZOOM, 8, 3), 255, np.uint8)]
    return np.hstack(tiles[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", type=Path, help="folders of pairs with their truth")
    parser.add_argument("--number", type=int, default=40, help="built-in scenes a setting (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="write a picture of a zoomed border there, and measure nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"one thread; torch {torch.__version__}, OpenCV {cv2.__version__}, {len(COLORS)} colours known")
    if args.picture:
        Image.fromarray(picture()).save(args.picture)
        print(f"Wrote {args.picture}")
        return
    if args.pairs:
        for folder in args.pairs:
            show(str(folder), list(stored_pairs(folder)))
        return
    for setting in (("area", 95, "4:2:0"), ("area", 75, "4:2:0"), ("bicubic", 90, "4:4:4"), ("bilinear", 60, "4:2:0")):
        title = "{} resize, JPEG quality {}, {}".format(*setting)
        show(title, list(synthetic_pairs(args.number, *setting)))


if __name__ == "__main__":
    main()
