"""Photograph and colour mask side by side in one file, as the popular sets of image pairs have them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from mmseg.registry import DATASETS

from cityseg_ext.checks import check_choice
from cityseg_ext.datasets.files import find_files
from cityseg_ext.datasets.street import StreetDataset
from cityseg_ext.labels import PAIR_HALVES, PAIR_SUFFIXES, TaxonomyLike


@DATASETS.register_module()
class CityscapesPairsDataset(StreetDataset):
    """Pairs as they come: each file shows the photograph in one half and its colour mask in the other.

    Files are taken from ``<data_root>/<img_path>`` and all folders below it, in the natural order of their names: 1, 2,
    10. ``LoadStreetImage`` and ``LoadColorMaskAnnotations`` cut the halves.

    Args:
        data_root: the folder that holds the folders of pairs, such as ``train`` and ``val``.
        data_prefix: ``img_path`` below ``data_root``; without it, the pairs lie in ``data_root`` itself.
        taxonomy: which classes there are: ``'cityscapes19'``, ``'cityscapes29'``, a
            :class:`~cityseg_ext.labels.Taxonomy`, or a palette of one's own, class name -> RGB colour.
        photo_side: the half that holds the photograph: ``'left'`` or ``'right'``.
        img_suffix: ends of file names, one or several; upper and lower case are the same. PNG is not among the
            default ones, because other pictures often lie beside JPEG pairs: say ``'.png'`` for PNG pairs.
        max_images: keep only the first so many pairs.
        options: ``on_error``, ``pipeline``, ``test_mode``, ``lazy_init``, ``indices``, ``serialize_data``,
            ``max_refetch`` and ``backend_args``, as in :class:`~cityseg_ext.datasets.street.StreetDataset`.

    Raises:
        FileNotFoundError: if the folder is missing, or has no such file.
        ValueError: if an option is wrong, or two files differ in their endings only.

    Example:
        >>> CityscapesPairsDataset(data_root='nowhere', data_prefix=dict(img_path='train'))
        Traceback (most recent call last):
        ...
        FileNotFoundError: Expected `data_root` to be a folder with pairs in 'train', but got 'nowhere': ...
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: dict,
        taxonomy: TaxonomyLike = "cityscapes19",
        photo_side: str = "left",
        img_suffix: str | Sequence[str] = PAIR_SUFFIXES,
        max_images: int | None = None,
        **options,
    ) -> None:
        check_choice("photo_side", photo_side, PAIR_HALVES)
        self.photo_side = photo_side
        super().__init__(data_root, data_prefix, taxonomy, img_suffix, "", max_images, **options)

    def load_data_list(self) -> list[dict]:
        """Find the pairs.

        Returns:
            One dict a pair, in natural order, with what the pipeline needs.
        """
        files = find_files(
            self.data_prefix.get("img_path") or self.data_root,
            self.img_suffixes,
            root=self.data_root,
            what="pairs",
            root_cure="Give the folder that holds the folders of pairs (--data-root), or change `data_prefix`.",
            suffix_cure="Set `img_suffix` to how the names of the pairs end.",
        )
        label_half = PAIR_HALVES[1 - PAIR_HALVES.index(self.photo_side)]
        halves = dict(photo_half=self.photo_side, label_half=label_half)
        stems = sorted(files, key=_natural)
        return [self._data_info(files[stem], files[stem], "color") | halves for stem in stems[: self.max_images]]


def _natural(stem: str) -> tuple:
    """A key that sorts numbers in names by their value, folder by folder.

    Example:
        >>> sorted(["10", "b/1", "2", "a10", "a9"], key=_natural)
        ['2', '10', 'a9', 'a10', 'b/1']
    """
    parts = (re.split(r"(\d+)", part) for part in stem.split(os.sep))
    numbers = tuple(tuple(int(bit) if bit.isdecimal() else bit for bit in part) for part in parts)
    return numbers, stem  # the stem decides between 1 and 01
