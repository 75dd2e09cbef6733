"""Dense CRF: ours in torch against pydensecrf2, in the same run, on synthetic street scenes.

python benchmarks/dense_crf.py --size 1024 2048 --threads 2 --json dense_crf.json

Both have the same weights and standard deviations, those of pydensecrf's own examples. It works in one thread, whatever
--threads says, and takes no part where it is not installed (`pip install "cityseg_ext[crf]"`). Before the timing both
are compared with the sums over all pairs of pixels, in float64, on the same scene in 72x96 pixels.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import numpy as np
import torch
from _side_by_side import compare, peak_process_memory
from mmengine.registry import init_default_scope
from reference import dense_crf as all_pairs
from torch import Tensor

from cityseg_ext.functional.synthetic.scenes import render_scene
from cityseg_ext.labels import CITYSCAPES_19
from cityseg_ext.refiners import DenseCRF

OPTIONS = dict(
    smooth_weight=3.0, smooth_sigma=3.0, appearance_weight=10.0, appearance_sigma_xy=80.0, appearance_sigma_rgb=13.0
)


def scene(height: int, width: int) -> tuple[np.ndarray, Tensor]:
    """A photograph with a camera's noise, and what a coarse and unsure model might say of it."""
    drawn = render_scene(seed=1, height=height, width=width)
    classes = CITYSCAPES_19.num_classes
    rng = np.random.default_rng(0)
    photo = (drawn.photo + rng.normal(0, 2, drawn.photo.shape)).clip(0, 255).astype(np.uint8)
    labels = torch.from_numpy(np.searchsorted(np.unique(drawn.label_ids), drawn.label_ids) % classes)
    truth = torch.nn.functional.one_hot(labels, classes).permute(2, 0, 1)[None].float()
    coarse = torch.nn.functional.adaptive_avg_pool2d(truth, (height // 8, width // 8))
    coarse = 4 * coarse + torch.from_numpy(rng.normal(0, 1, coarse.shape)).float()
    logits = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return photo, logits[0].softmax(dim=0).contiguous()


def refiners(steps: int) -> Iterator[tuple[str, DenseCRF]]:
    for backend in ("torch", "pydensecrf"):
        try:
            yield backend, DenseCRF(steps, backend=backend, **OPTIONS)
        except ValueError as error:
            print(f"{backend} takes no part: {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=[512, 1024], metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args()
    init_default_scope("mmseg")
    ways = dict(refiners(args.steps))
    photo, p = scene(72, 96)
    exact = torch.from_numpy(all_pairs(photo, p.numpy(), args.steps, **OPTIONS))
    for name, refiner in ways.items():
        found = refiner(photo, p)
        error, same = (found - exact).abs().mean(), (found.argmax(0) == exact.argmax(0)).double().mean()
        print(f"{name}: mean error of marginals {error:.5f}, {same:.2%} of labels as all pairs give them (72x96)")
    photo, p = scene(*args.size)
    height, width = args.size
    print(
        f"{height}x{width}, {len(p)} classes, {args.steps} steps; memory of the process, in units of the probabilities"
    )
    timed = {name: lambda refiner=refiner: refiner(photo, p) for name, refiner in ways.items()}
    compare(timed, list(timed)[-1], args.threads, args.rounds, 4 * p.numel(), args.json, peak_process_memory)


if __name__ == "__main__":
    main()
