"""How fast an exact colour mask is decoded, against what others do and against copying it.

python benchmarks/color_mask.py
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from prettytable import PrettyTable

from cityseg_ext.apis.synthetic_cityscapes import paint_label_ids
from cityseg_ext.functional.color_mask import decode_color_mask
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX

TABLE = CITYSCAPES_19.color_to_index


def loop_over_classes(mask: np.ndarray) -> np.ndarray:
    """What most projects do."""
    indices = np.full(mask.shape[:2], IGNORE_INDEX, np.uint8)
    for color, index in TABLE.items():
        indices[np.all(mask == color, axis=-1)] = index
    return indices


def unique_colors(mask: np.ndarray) -> np.ndarray:
    """Pack, find the distinct colours, translate these."""
    codes, inverse = np.unique(pack(mask), return_inverse=True)
    known = {red << 16 | green << 8 | blue: index for (red, green, blue), index in TABLE.items()}
    return np.array([known.get(int(code), IGNORE_INDEX) for code in codes], np.uint8)[inverse].reshape(mask.shape[:2])


def pack(mask: np.ndarray) -> np.ndarray:
    return mask[..., 0].astype(np.int32) << 16 | mask[..., 1].astype(np.int32) << 8 | mask[..., 2]


def whole_image_table() -> Callable[[np.ndarray], np.ndarray]:
    """A table of all 2**24 colours, indexed for the whole image at once."""
    table = np.full(1 << 24, IGNORE_INDEX, np.uint8)
    for (red, green, blue), index in TABLE.items():
        table[red << 16 | green << 8 | blue] = index
    return lambda mask: table[pack(mask)]


def milliseconds(work: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Quartiles, after a warm-up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    low, middle, high = statistics.quantiles(times, n=4)
    return low, middle, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=30, help="of the fast ways; slow ones get fewer")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    mask = paint_label_ids(render_scene(0, *args.size).label_ids)
    ways = {
        "np.copy": (mask.copy, args.repeats),
        "ours, mode='exact'": (lambda: decode_color_mask(mask, TABLE, "rgb").indices, args.repeats),
        "ours, mode='nearest'": (lambda: decode_color_mask(mask, TABLE, "rgb", mode="nearest").indices, args.repeats),
        "ours, mode='robust', clean mask": (
            lambda: decode_color_mask(mask, TABLE, "rgb", mode="robust").indices,
            args.repeats,
        ),
        "24-bit table, whole image": ((lambda decode: lambda: decode(mask))(whole_image_table()), args.repeats),
        "np.unique of packed colours": (lambda: unique_colors(mask), max(3, args.repeats // 6)),
        "loop over classes": (lambda: loop_over_classes(mask), max(3, args.repeats // 10)),
    }
    truth = loop_over_classes(mask)
    table = PrettyTable(["way", "ms (quartiles)", "in copies", "against ours"], align="r")
    table.align["way"] = "l"
    times = {name: milliseconds(work, repeats) for name, (work, repeats) in ways.items()}
    copy, ours = times["np.copy"][1], times["ours, mode='exact'"][1]
    for name, (work, _) in ways.items():
        if name != "np.copy" and not np.array_equal(work(), truth):
            raise ValueError(f"Expected '{name}' to decode as the loop over classes does, but it differs.")
        low, middle, high = times[name]
        table.add_row([name, f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{middle / copy:.1f}", f"{middle / ours:.2f}"])
    print(f"{args.size[1]}x{args.size[0]} mask, one thread; numpy {np.__version__}, OpenCV {cv2.__version__}\n{table}")


if __name__ == "__main__":
    main()
