"""How far resized labels move against their photograph, at borders and in thin things.

python benchmarks/label_resize.py DATA_ROOT        (a Cityscapes tree with *_labelIds.png)

Labels are shrunk, brought back to full size centre on centre, and compared with the original: over all pixels, within 3
pixels of a border, and as IoU of poles. Photographs shrunk by bilinear or area resizing are centred, so what centres
labels aligns them.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from cityseg_ext.functional.boundary import border_band
from cityseg_ext.functional.label_resize import resize_labels
from cityseg_ext.labels import LABEL_BY_NAME

POLE = LABEL_BY_NAME["pole"].id
WAYS = {
    "cv2.INTER_NEAREST (mmcv, mmseg)": lambda labels, h, w: cv2.resize(labels, (w, h), interpolation=cv2.INTER_NEAREST),
    "cv2.INTER_NEAREST_EXACT": lambda labels, h, w: cv2.resize(labels, (w, h), interpolation=cv2.INTER_NEAREST_EXACT),
    "resize_labels (ours)": resize_labels,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_root", type=Path)
    paths = sorted(parser.parse_args().data_root.glob("gtFine/*/*/*_labelIds.png"))
    if not paths:
        parser.error("expected *_labelIds.png below gtFine/<split>/<city>, but found none")
    cv2.setNumThreads(1)
    print(f"{len(paths)} label maps; per cent right; milliseconds a map on one thread\n")
    print("| way | size | overall | within 3 px of borders | IoU of poles | ms |\n|---|---|---|---|---|---|")
    for factor in (0.75, 0.5, 0.25):
        for name, way in WAYS.items():
            right, pole, seconds = np.zeros((len(paths), 2)), np.zeros(2), []
            for row, path in enumerate(paths):
                labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                height, width = labels.shape
                start = time.perf_counter()
                small = way(labels, round(height * factor), round(width * factor))
                seconds.append(time.perf_counter() - start)
                back = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
                right[row] = (back == labels).mean(), (back == labels)[border_band(labels)].mean()
                both, either = (back == POLE) & (labels == POLE), (back == POLE) | (labels == POLE)
                pole += both.sum(), either.sum()
            overall, border = 100 * right.mean(axis=0)
            score, ms = 100 * pole[0] / max(pole[1], 1), 1000 * np.median(seconds)
            print(f"| {name} | {factor} | {overall:.2f} | {border:.2f} | {score:.1f} | {ms:.2f} |")


if __name__ == "__main__":
    main()
