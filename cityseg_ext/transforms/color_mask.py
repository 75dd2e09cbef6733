"""Reading label files of any kind: colour masks, label ids, train ids."""

from __future__ import annotations

import logging

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from mmseg.registry import TRANSFORMS

from cityseg_ext.checks import check_choice, expected
from cityseg_ext.functional.color_mask import MODES, UNCERTAIN_POLICIES, DecodedMask
from cityseg_ext.functional.mask_decoder import EFFORTS
from cityseg_ext.labels import LABEL_SUFFIXES, Taxonomy, TaxonomyLike, get_taxonomy
from cityseg_ext.transforms.label_cache import LabelCache, file_state
from cityseg_ext.transforms.label_file import read_label, unknown_problem

UNKNOWN_POLICIES = ("error", "ignore")


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
    - label_half (str): optional; ``'left'`` or ``'right'`` where photograph and mask share one file

    Added Keys:

    - gt_seg_map (np.ndarray): uint8 (H, W), class indices, 255 for void

    Modified Keys:

    - seg_fields: ``'gt_seg_map'`` is appended

    Args:
        source: ``'color'``, ``'label_ids'``, ``'train_ids'`` or None (as the data set says).
        taxonomy: ``'cityscapes19'``, ``'cityscapes29'``, a :class:`~cityseg_ext.labels.Taxonomy`, a palette (class
            name -> RGB colour), or None.
        unknown: what to do about colours and ids that are in no table: ``'error'``, or ``'ignore'``: make them void
            and say so in a warning with their counts, once a file.
        mode, uncertain, effort: how colours are decoded, see
            :func:`~cityseg_ext.functional.color_mask.decode_color_mask`; ``mode='robust'`` for masks that were
            smoothed or saved as JPEG.
        backend_args: arguments of mmengine's file backend.
        cache_dir: folder in which decoded labels are kept, so that each is decoded once and not once an epoch; see
            :class:`~cityseg_ext.transforms.label_cache.LabelCache`. A label with unknown colours or ids is not kept:
            it is reported each time, as without.

    Raises:
        FileNotFoundError, ValueError: when used, naming the file, what was found in it, and the cure.
        OSError: if ``cache_dir`` cannot be made or written.
    """

    def __init__(
        self,
        source: str | None = None,
        taxonomy: TaxonomyLike | None = None,
        unknown: str = "error",
        mode: str = "exact",
        uncertain: str = "resolve",
        effort: str = "fast",
        backend_args: dict | None = None,
        cache_dir: str | None = None,
    ) -> None:
        if source is not None:
            check_choice("source", source, LABEL_SUFFIXES)
        check_choice("unknown", unknown, UNKNOWN_POLICIES)
        check_choice("mode", mode, MODES)
        check_choice("uncertain", uncertain, UNCERTAIN_POLICIES)
        check_choice("effort", effort, EFFORTS)
        self.source = source
        self.taxonomy = None if taxonomy is None else get_taxonomy(taxonomy)
        self.unknown = unknown
        self.decoding = dict(mode=mode, uncertain=uncertain, effort=effort)
        self.backend_args = backend_args
        if cache_dir is not None and backend_args is not None:
            raise ValueError(expected("cache_dir", "left out where labels are no local files", repr(cache_dir)))
        self.cache = None if cache_dir is None else LabelCache(cache_dir)
        self._warned: set[str] = set()

    def transform(self, results: dict) -> dict:
        path = results.get("seg_map_path")
        if path is None:
            return results
        source = self.source or results.get("label_source", "color")
        taxonomy = self.taxonomy or get_taxonomy(results.get("taxonomy", "cityscapes19"))
        results["gt_seg_map"] = self._indices(path, source, taxonomy, results)
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _indices(self, path: str, source: str, taxonomy: Taxonomy, results: dict) -> np.ndarray:
        half, size = results.get("label_half"), results.get("ori_shape")
        settings = f"{source} {half} {self.decoding} {taxonomy}"
        state = None
        if self.cache is not None:
            indices = self.cache.read(path, settings)
            if indices is not None and (size is None or indices.shape == tuple(size[:2])):
                return indices
            state = file_state(path)
        decoded = read_label(path, source, taxonomy, half, size, self.backend_args, **self.decoding)
        if decoded.unknown:
            self._report_unknown(path, decoded, source, taxonomy)
        elif state is not None:
            self.cache.write(path, settings, state, decoded.indices)
        return decoded.indices

    def _report_unknown(self, path: str, decoded: DecodedMask, source: str, taxonomy: Taxonomy) -> None:
        if self.unknown == "error":
            raise ValueError(unknown_problem(path, decoded, source, taxonomy))
        if path not in self._warned:
            self._warned.add(path)
            message = unknown_problem(path, decoded, source, taxonomy, "These pixels are void now.")
            print_log(message, logger="current", level=logging.WARNING)

    def __repr__(self) -> str:
        name = self.taxonomy.name if self.taxonomy else None
        options = dict(source=self.source, taxonomy=name, unknown=self.unknown) | self.decoding
        if self.cache is not None:
            options["cache_dir"] = str(self.cache.folder)
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
