"""How far resized labels move against their photograph, at borders.

    python benchmarks/label_resize.py DATA_ROOT        (a Cityscapes tree with *_labelIds.png)

Labels are shrunk, brought back to full size centre on centre, and compared with the original: over all pixels, and
within 3 pixels of a border. Photographs shrunk by bilinear or area resizing are centred, so what centres labels aligns
them. At exactly one half the centre lies between two pixels: both ways are half a source pixel off.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def border_band(labels: np.ndarray, width: int = 3) -> np.ndarray:
    """Pixels within `width` of another label."""
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return cv2.dilate(labels, window) != cv2.erode(labels, window)


def main() -> None:
    from cityseg_ext.functional.label_resize import resize_labels

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", type=Path)
    paths = sorted(parser.parse_args().data_root.glob("gtFine/*/*/*_labelIds.png"))
    if not paths:
        parser.error("expected *_labelIds.png below gtFine/<split>/<city>, but found none")
    ways = {
        "cv2.INTER_NEAREST (mmcv, mmseg)": lambda labels, h, w: cv2.resize(labels, (w, h), interpolation=0),
        "resize_labels (ours)": resize_labels,
    }
    print(f"{len(paths)} label maps; per cent right\n")
    print("| way | size | overall | within 3 px of borders |\n|---|---|---|---|")
    for factor in (0.75, 0.5, 0.25):
        for name, way in ways.items():
            right = np.zeros((len(paths), 2))
            for row, path in enumerate(paths):
                labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                height, width = labels.shape
                small = way(labels, round(height * factor), round(width * factor))
                equal = resize_labels(small, height, width) == labels
                right[row] = equal.mean(), equal[border_band(labels)].mean()
            overall, border = 100 * right.mean(axis=0)
            print(f"| {name} | {factor} | {overall:.2f} | {border:.2f} |")


if __name__ == "__main__":
    main()
