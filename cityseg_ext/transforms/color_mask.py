"""Reading label files of any kind: colour masks, label ids, train ids."""

from __future__ import annotations

import io
import logging

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log
from mmseg.registry import TRANSFORMS
from PIL import Image

from cityseg_ext.checks import check_choice, file_problem, shorten
from cityseg_ext.functional.color_mask import MODES, DecodedMask, decode_color_mask, decode_label_ids
from cityseg_ext.labels import IGNORE_INDEX, LABEL_SUFFIXES, Taxonomy, get_taxonomy

UNKNOWN_POLICIES = ("error", "ignore")

_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "F")


@TRANSFORMS.register_module()
class LoadColorMaskAnnotations(BaseTransform):
    """Load a label file as class indices.

    What the file holds and what numbering is wanted is the data set's business: ``CityscapesColorMaskDataset`` puts
    both into ``results``. Give ``source`` and ``taxonomy`` here only for other data sets.

    * ``source='color'``: an RGB, RGBA or palette image in the colours of the taxonomy. What is not opaque is unknown.
    * ``source='label_ids'``: official ids 0 to 33 (255 stands for -1, the licence plate, and is void).
    * ``source='train_ids'``: class indices of the taxonomy, and 255.

    Id files may be grey (8 or 16 bit), palette images (the stored index is the id) or RGB with three equal channels.
    Nothing wraps around: a 16-bit value such as 26001 is reported, not taken modulo 256.

    A sample without the key ``seg_map_path`` has no label and passes unchanged, so that the same pipeline serves
    inference.

    Required Keys:

    - seg_map_path (str)
    - seg_fields (list)
    - label_source, taxonomy (str): only where not given to the constructor
    - ori_shape (tuple[int, int]): optional; the mask must then have that size

    Added Keys:

    - gt_seg_map (np.ndarray): uint8 (H, W), class indices, 255 for void

    Modified Keys:

    - seg_fields: ``'gt_seg_map'`` is appended

    Args:
        source: ``'color'``, ``'label_ids'``, ``'train_ids'`` or None (as the data set says).
        taxonomy: ``'cityscapes19'``, ``'cityscapes29'``, a :class:`~cityseg_ext.labels.Taxonomy`, or None.
        unknown: what to do about colours and ids that are in no table: ``'error'``, or ``'ignore'``: make them void
            and say so in a warning with their counts, once a file.
        mode: how colours are decoded, see :func:`~cityseg_ext.functional.color_mask.decode_color_mask`.
        backend_args: arguments of mmengine's file backend.

    Raises:
        FileNotFoundError, ValueError: when used, naming the file, what was found in it, and the cure.
    """

    def __init__(
        self,
        source: str | None = None,
        taxonomy: str | Taxonomy | None = None,
        unknown: str = "error",
        mode: str = "exact",
        backend_args: dict | None = None,
    ) -> None:
        if source is not None:
            check_choice("source", source, LABEL_SUFFIXES)
        check_choice("unknown", unknown, UNKNOWN_POLICIES)
        check_choice("mode", mode, MODES)
        self.source = source
        self.taxonomy = None if taxonomy is None else get_taxonomy(taxonomy)
        self.unknown = unknown
        self.mode = mode
        self.backend_args = backend_args
        self._warned: set[str] = set()

    def transform(self, results: dict) -> dict:
        path = results.get("seg_map_path")
        if path is None:
            return results
        source = self.source or results.get("label_source", "color")
        taxonomy = self.taxonomy or get_taxonomy(results.get("taxonomy", "cityscapes19"))
        image = _open(path, self.backend_args)
        self._check_size(path, image, results.get("ori_shape"))
        decoded = self._decode(path, image, source, taxonomy)
        if decoded.unknown:
            self._report_unknown(path, decoded, source, taxonomy)
        results["gt_seg_map"] = decoded.indices
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _decode(self, path: str, image: Image.Image, source: str, taxonomy: Taxonomy) -> DecodedMask:
        if source == "color":
            return decode_color_mask(_pixels_as_color(path, image), taxonomy.color_to_index, "rgb", self.mode)
        if source == "label_ids":
            id_to_index = {number % 256: index for number, index in taxonomy.id_to_index.items()}
        else:
            id_to_index = {index: index for index in range(taxonomy.num_classes)} | {IGNORE_INDEX: IGNORE_INDEX}
        return decode_label_ids(_pixels_as_ids(path, image), id_to_index)

    @staticmethod
    def _check_size(path: str, image: Image.Image, ori_shape: tuple[int, ...] | None) -> None:
        if ori_shape is not None and (image.height, image.width) != tuple(ori_shape[:2]):
            raise ValueError(
                file_problem(
                    path,
                    f"of its photograph's size {ori_shape[1]}x{ori_shape[0]} (width x height)",
                    f"{image.width}x{image.height}",
                    "Pair the right files, or export the label at full size with nearest-neighbour resizing.",
                )
            )

    def _report_unknown(self, path: str, decoded: DecodedMask, source: str, taxonomy: Taxonomy) -> None:
        kind = "colours (RGB)" if source == "color" else "ids"
        total = sum(decoded.unknown.values())
        listed = shorten([f"{value}: {count} pixels" for value, count in decoded.unknown.items()])
        found = f"{total} of {decoded.indices.size} pixels with {len(decoded.unknown)} other {kind}: {listed}"
        rule = {
            "color": f"a mask in the colours of {taxonomy.name}",
            "label_ids": "a map of Cityscapes label ids 0 to 33 (or 255)",
            "train_ids": f"a map of the class indices 0 to {taxonomy.num_classes - 1} (or 255)",
        }[source]
        if self.unknown == "error":
            raise ValueError(file_problem(path, rule, found, _unknown_cure(source, decoded.unknown)))
        if path not in self._warned:
            self._warned.add(path)
            message = file_problem(path, rule, found, "These pixels are void now.")
            print_log(message, logger="current", level=logging.WARNING)

    def __repr__(self) -> str:
        name = self.taxonomy.name if self.taxonomy else None
        return (
            f"{type(self).__name__}(source={self.source!r}, taxonomy={name!r}, unknown={self.unknown!r}, "
            f"mode={self.mode!r})"
        )


def _open(path: str, backend_args: dict | None) -> Image.Image:
    try:
        data = fileio.get(path, backend_args=backend_args)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            file_problem(path, "an existing label file", "no file", "Check `data_root` and `seg_map_suffix`.")
        ) from error
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            file_problem(
                path,
                "a readable image",
                f"{len(data)} bytes that cannot be decoded ({error})",
                "Restore the file, or remove it together with its photograph.",
            )
        ) from error
    return image


def _pixels_as_color(path: str, image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3 or 4), RGB or RGBA."""
    if image.mode in ("RGB", "RGBA"):
        return np.asarray(image)
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA"))
    raise ValueError(
        file_problem(
            path,
            "a colour mask (RGB, RGBA or palette)",
            f"an image of mode {image.mode}",
            "If it holds ids, set source='label_ids' or source='train_ids'.",
        )
    )


def _pixels_as_ids(path: str, image: Image.Image) -> np.ndarray:
    """Integers (H, W)."""
    pixels = np.asarray(image)
    if image.mode == "1":
        return pixels.astype(np.uint8)
    if image.mode in ("L", "P"):
        return pixels
    if image.mode in _WIDE_MODES and np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.int64)
    if image.mode in ("RGB", "RGBA") and (pixels[..., :1] == pixels[..., 1:3]).all():
        return np.ascontiguousarray(pixels[..., 0])
    raise ValueError(
        file_problem(
            path,
            "a map of ids (grey, palette, or RGB with three equal channels)",
            f"an image of mode {image.mode} with differing channels" if pixels.ndim == 3 else f"mode {image.mode}",
            "If it is a colour mask, set source='color'.",
        )
    )


def _unknown_cure(source: str, unknown: dict) -> str:
    if source == "color":
        cure = "Smoothed or JPEG masks have mixed colours: save masks as PNG without smoothing"
    elif any(value >= 1000 for value in unknown):
        cure = "Such values are instance ids: use the _labelIds.png file"
    elif source == "train_ids":
        cure = "If these are official label ids, set source='label_ids'"
    else:
        cure = "If these are class indices, set source='train_ids'"
    return f"{cure}; or set unknown='ignore' to make such pixels void."
