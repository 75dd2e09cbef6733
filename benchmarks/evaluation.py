"""How fast predictions are scored, against what others do and against decoding the files.

python benchmarks/evaluation.py
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from prettytable import PrettyTable

from cityseg_ext.apis.evaluation import evaluate
from cityseg_ext.apis.processes import map_in_processes
from cityseg_ext.functional.boundary_scores import boundary_counts
from cityseg_ext.functional.confusion import confusion_counts
from cityseg_ext.functional.synthetic import render_scene
from cityseg_ext.functional.thin_structures import thin_counts
from cityseg_ext.labels import CITYSCAPES_19, IGNORE_INDEX, LABEL_SUFFIXES

K = CITYSCAPES_19.num_classes
Work = Callable[[], object]


def with_bincount(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """What most projects do."""
    labelled = target != IGNORE_INDEX
    fused = K * target[labelled].astype(np.int64) + pred[labelled]
    return np.bincount(fused, minlength=K * K).reshape(K, K)


def ways(pred: np.ndarray, target: np.ndarray) -> dict[str, Work]:
    """Everything that counts a pair; "ours" comes first."""
    found: dict[str, Work] = {
        "ours, confusion_counts": lambda: confusion_counts(pred, target, K),
        "np.bincount of masked int64": lambda: with_bincount(pred, target),
    }
    metric = IoUMetric(ignore_index=IGNORE_INDEX)
    metric.dataset_meta = CITYSCAPES_19.metainfo
    guess, truth = (torch.as_tensor(part.astype(np.int64))[None] for part in (pred, target))
    sample = dict(pred_sem_seg=dict(data=guess), gt_sem_seg=dict(data=truth))
    found["mmseg IoUMetric.process"] = lambda: metric.process({}, [sample])
    try:
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ImportError:
        print("torchmetrics is not installed: left out")
    else:
        matrix = MulticlassConfusionMatrix(K, ignore_index=IGNORE_INDEX)
        found["torchmetrics ConfusionMatrix"] = lambda: matrix(guess, truth)
    found["ours, boundary_counts"] = lambda: boundary_counts(pred, target, K)
    found["ours, thin_counts"] = lambda: thin_counts(pred, target, K)
    return found


def milliseconds(works: dict[str, Work], repeats: int) -> dict[str, tuple[float, ...]]:
    """Best and quartiles; all take turns, so that a busy moment of the machine hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: (min(values), *statistics.quantiles(values, n=4)) for name, values in times.items()}


def decode(path: str) -> int:
    return cv2.imread(path, cv2.IMREAD_UNCHANGED).size


def show(times: dict[str, tuple[float, ...]], unit: str) -> PrettyTable:
    first = next(iter(times.values()))[0]
    table = PrettyTable(["way", f"best, {unit}", "quartiles", "ratio of best"], align="r")
    table.align["way"] = "l"
    for name, (best, *quartiles) in times.items():
        table.add_row([name, f"{best:.2f}", "  ".join(f"{part:.2f}" for part in quartiles), f"{best / first:.1f}"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(1024, 2048), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=60, help="pairs of PNG files in the folder")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    ids = render_scene(0, *args.size).label_ids
    target = np.array([CITYSCAPES_19.id_to_index.get(number, IGNORE_INDEX) for number in range(256)], np.uint8)[ids]
    pred = np.roll(np.where(target == IGNORE_INDEX, 0, target).astype(np.uint8), 3, axis=1)
    size = f"{args.size[1]}x{args.size[0]}"
    print(f"One pair {size} in memory, one thread\n{show(milliseconds(ways(pred, target), args.repeats), 'ms')}")

    with tempfile.TemporaryDirectory() as folder:
        pred_dir, gt_dir = Path(folder, "pred"), Path(folder, "gt")
        for path in (pred_dir, gt_dir):
            path.mkdir()
        for index in range(args.images):
            stem = f"synth_000000_{index:06d}"
            cv2.imwrite(str(pred_dir / f"{stem}.png"), np.roll(pred, 9 * index, axis=1))
            cv2.imwrite(str(gt_dir / f"{stem}{LABEL_SUFFIXES['label_ids']}"), np.roll(ids, 9 * index, axis=1))
        files = [str(path) for directory in (pred_dir, gt_dir) for path in sorted(directory.iterdir())]
        folders = dict(pred_dir=pred_dir, gt_dir=gt_dir, workers=args.workers)
        works: dict[str, Work] = {
            "decode alone": lambda: list(map_in_processes(decode, files, args.workers, "workers")),
            "evaluate": partial(evaluate, **folders),
            "evaluate, boundary=True": partial(evaluate, boundary=True, **folders),
        }
        times = milliseconds(works, max(2, args.repeats // 3))
    times = {name: tuple(part / 1000 for part in values) for name, values in times.items()}
    print(f"{args.images} pairs of PNG files {size}, {args.workers or 'all'} processes\n{show(times, 's')}")


if __name__ == "__main__":
    main()
