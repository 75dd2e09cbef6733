"""Train the small network that decodes smoothed and JPEG colour masks (mode='robust'), on rendered label maps.

Nobody needs this to use the shipped weights, which were trained with the same recipe: see docs/colour_masks.md.

python tools/train_mask_decoder.py fast --out work_dirs/mask_decoder_fast.npz
"""

import argparse
import os
import sys

import _cli

# Buffers of one step are those of the next: without this, glibc hands them back and the kernel clears them every time,
# which takes half of the time. Only a new process can be told.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effort", choices=["fast", "best"], help="which size to train")
    parser.add_argument("--out", required=True, metavar="FILE", help="the .npz file to write; one there is replaced")
    parser.add_argument("--steps", type=int, metavar="N", help="default: as many as the shipped weights had")
    parser.add_argument("--num-scenes", type=int, default=150, help="scenes to draw from (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=12, help="patches a step (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="of PyTorch; one more prepares patches (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | _MALLOC)
    import torch
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from cityseg_ext.apis.mask_decoder_training import train_mask_decoder

    torch.set_num_threads(args.threads)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeRemainingColumn(), transient=True) as bar:
        task = bar.add_task("rendering scenes", total=None)
        path = train_mask_decoder(
            args.effort,
            args.out,
            args.steps,
            args.num_scenes,
            args.batch_size,
            seed=args.seed,
            progress=lambda done, total, loss: bar.update(
                task, completed=done, total=total, description=f"training, loss {loss:.3f}"
            ),
        )
    _cli.say(f"Wrote {path}. Measure it: copy it to cityseg_ext/functional/ and run benchmarks/lossy_masks.py")


if __name__ == "__main__":
    _cli.run(main)
