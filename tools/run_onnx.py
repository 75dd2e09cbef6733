"""Predict photographs with a file of tools/export.py: copy this script and that file, nothing else is needed.

python run_onnx.py model.onnx street.jpg more/*.png --out predictions    (pip install numpy onnxruntime Pillow)

Writes <name>_classes.png (class indices) and <name>_overlay.png for every photograph.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def load(path: str) -> onnxruntime.InferenceSession:
    """The model in a file of tools/export.py."""
    try:
        session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime's errors have no class in common
        raise ValueError(f"Expected '{path}' to be an ONNX file, but: {error}") from error
    if "palette" not in session.get_modelmeta().custom_metadata_map:
        raise ValueError(f"Expected '{path}' to be a file of tools/export.py, but it names no classes.")
    return session


def read(path: str) -> Image.Image:
    """A photograph, upright, RGB."""
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"Expected '{path}' to be a photograph, but: {error}") from error


def fit(image: Image.Image, facts: dict[str, str]) -> Image.Image:
    """The photograph in the size that the model was trained for: bilinear, as OpenCV does it."""
    if "image_size" not in facts:
        return image
    height, width = json.loads(facts["image_size"])
    if json.loads(facts["keep_ratio"]):
        factor = min(max(height, width) / max(image.size), min(height, width) / min(image.size))
        width, height = (int(side * factor + 0.5) for side in image.size)
    size = tuple(max(side, int(facts["min_side"])) for side in (width, height))
    matrix = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
    return image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def classes_of(result: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Class indices, uint8 (H, W), in the photograph's size, from a class map, or from numbers of every class."""
    if result.ndim == 2:
        return np.asarray(Image.fromarray(result).resize(size, Image.Resampling.NEAREST))
    best, classes = np.full(size[::-1], -np.inf, np.float32), np.zeros(size[::-1], np.uint8)
    for index, plane in enumerate(result):
        plane = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
        classes[plane > best] = index
        best = np.maximum(best, plane)
    return classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="*.onnx, written by tools/export.py")
    parser.add_argument("images", nargs="+", help="photographs")
    parser.add_argument("--out", default="predictions", help="folder to write (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    args = parser.parse_args()
    session = load(args.model)
    facts = session.get_modelmeta().custom_metadata_map
    names, palette = json.loads(facts["classes"]), np.array(json.loads(facts["palette"]), np.uint8)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    files = {out / f"{Path(name).stem}_{what}.png": name for name in args.images for what in ("classes", "overlay")}
    there = [str(file) for file in files if file.exists()]
    if len(files) < 2 * len(args.images) or (there and not args.overwrite):
        raise ValueError(f"Expected names that differ, and no file of theirs in '{out}' (or --overwrite): {there[:3]}")
    for name in args.images:
        image = read(name)
        (result,) = session.run(None, {"image": np.asarray(fit(image, facts))[None]})
        classes = classes_of(result[0], image.size)
        overlay = Image.blend(image, Image.fromarray(palette[classes]), 0.5)
        for what, picture in dict(classes=Image.fromarray(classes), overlay=overlay).items():
            part = out / f"{Path(name).stem}_{what}.part"  # no half files, if this is interrupted
            picture.save(part, "PNG")
            part.replace(part.with_suffix(".png"))
        counts = np.bincount(classes.ravel(), minlength=len(names))
        shares = ", ".join(f"{names[index]} {counts[index] / classes.size:.0%}" for index in counts.argsort()[:-4:-1])
        print(f"{name}: {shares}")
    print(f"Wrote {2 * len(args.images)} files to {out}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
