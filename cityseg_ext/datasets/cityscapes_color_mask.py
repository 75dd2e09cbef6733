"""The Cityscapes folder tree with colour masks, label ids or train ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log
from mmseg.registry import DATASETS

from cityseg_ext.checks import check_choice, did_you_mean, expected, shorten
from cityseg_ext.datasets.files import find_files, read_pairs
from cityseg_ext.datasets.street import StreetDataset
from cityseg_ext.labels import LABEL_SUFFIXES, PHOTO_SUFFIXES, TaxonomyLike

UNPAIRED_POLICIES = ("error", "skip", "collect")


@DATASETS.register_module()
class CityscapesColorMaskDataset(StreetDataset):
    """Street photographs in the Cityscapes tree, with labels of any of three kinds.

    ``<data_root>/<img_path>/<city>/<stem><img_suffix>`` is paired with
    ``<data_root>/<seg_map_path>/<city>/<stem><seg_map_suffix>``. Folders may be nested to any depth, or absent.

    Args:
        data_root: the folder that holds ``leftImg8bit`` and ``gtFine``.
        data_prefix: ``img_path`` and ``seg_map_path`` below ``data_root``. Without ``img_path`` photographs lie in
            ``data_root`` itself, and without ``seg_map_path`` the data set has no labels.
        source: what the label files hold: ``'color'``, ``'label_ids'`` or ``'train_ids'``.
        taxonomy: which classes there are: ``'cityscapes19'``, ``'cityscapes29'``, a
            :class:`~cityseg_ext.labels.Taxonomy`, or a palette of one's own, class name -> RGB colour.
        img_suffix: ends of photograph names, one or several; upper and lower case are the same. The default takes
            official PNGs and JPEGs alike.
        seg_map_suffix: end of label names; by default the official one of ``source``.
        cities: keep only these folders directly below ``img_path``.
        max_images: keep only the first so many pairs, in the order of their paths.
        ann_file: a CSV file of pairs, one ``photograph,label`` a line, with paths relative to ``data_root``; names may
            then be anything. ``data_prefix`` and ``cities`` are not used.
        unpaired: what to do about photographs without label and labels without photograph: ``'error'`` lists them,
            ``'skip'`` leaves them out and says how many, ``'collect'`` leaves them out without a word, for tools that
            report them: after loading they are in the attributes ``unpaired_photos`` and ``unpaired_labels``.
        options: ``on_error``, ``pipeline``, ``test_mode``, ``lazy_init``, ``indices``, ``serialize_data``,
            ``max_refetch`` and ``backend_args``, as in :class:`~cityseg_ext.datasets.street.StreetDataset`.

    Raises:
        FileNotFoundError: if a folder is missing, or if it has no photograph.
        ValueError: if files have no partner, or an option is wrong.

    Example:
        >>> CityscapesColorMaskDataset(data_root='nowhere', data_prefix=dict(img_path='a', seg_map_path='b'))
        Traceback (most recent call last):
        ...
        FileNotFoundError: Expected `data_root` to be ...
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: dict,
        source: str = "color",
        taxonomy: TaxonomyLike = "cityscapes19",
        img_suffix: str | Sequence[str] = PHOTO_SUFFIXES,
        seg_map_suffix: str | None = None,
        cities: Sequence[str] | None = None,
        max_images: int | None = None,
        unpaired: str = "error",
        ann_file: str | None = None,
        **options,
    ) -> None:
        check_choice("source", source, LABEL_SUFFIXES)
        check_choice("unpaired", unpaired, UNPAIRED_POLICIES)
        if source == "train_ids" and taxonomy == "cityscapes29":
            cure = "Official train ids tell 19 classes apart; take label_ids."
            raise ValueError(expected("source", "'label_ids' or 'color' for cityscapes29", repr(source), cure))
        self.source = source
        self.cities = None if cities is None else tuple(cities)
        self.unpaired = unpaired
        self.pair_list = None if ann_file is None else str(Path(data_root, ann_file))
        self.unpaired_photos: list[str] = []
        self.unpaired_labels: list[str] = []
        label_suffix = seg_map_suffix or LABEL_SUFFIXES[source]
        super().__init__(data_root, data_prefix, taxonomy, img_suffix, label_suffix, max_images, **options)

    def load_data_list(self) -> list[dict]:
        """Find the pairs.

        Returns:
            One dict a pair, sorted by path, with what the pipeline needs.
        """
        if self.pair_list is not None:
            pairs = read_pairs(self.pair_list, self.data_root)
            return [self._data_info(photo, label, self.source) for photo, label in pairs[: self.max_images]]
        photos = self._keep_cities(self._find(self._photo_dir, self.img_suffixes, "photographs"))
        label_dir = self.data_prefix.get("seg_map_path")
        if not label_dir:
            pairs = [(path, None) for _, path in sorted(photos.items())]
        else:
            labels = self._keep_cities(self._find(label_dir, (self.seg_map_suffix,), "labels"))
            without_label, without_photo = sorted(set(photos) - set(labels)), sorted(set(labels) - set(photos))
            self.unpaired_photos = [photos[stem] for stem in without_label]
            self.unpaired_labels = [labels[stem] for stem in without_photo]
            if self.unpaired != "collect":
                self._report_unpaired(without_label, without_photo)
            pairs = [(photos[stem], labels[stem]) for stem in sorted(set(photos) & set(labels))]
        if not pairs:
            raise ValueError(
                f"Expected pairs of '*{self.img_suffixes[0]}' and '*{self.seg_map_suffix}', but of {len(photos)} "
                f"photographs in '{self._photo_dir}' none has a label in '{label_dir}'. Check "
                "`img_suffix`, `seg_map_suffix` and `source`."
            )
        return [self._data_info(photo, label, self.source) for photo, label in pairs[: self.max_images]]

    @property
    def _photo_dir(self) -> str:
        return self.data_prefix.get("img_path") or self.data_root

    def _find(self, folder: str, suffixes: Sequence[str], what: str) -> dict[str, str]:
        return find_files(
            folder,
            suffixes,
            root=self.data_root,
            what=what,
            root_cure="Give the folder that holds leftImg8bit and gtFine (--data-root), or change `data_prefix`.",
            suffix_cure="Set `img_suffix` or `seg_map_suffix` to how the names end.",
        )

    def _keep_cities(self, stems: dict[str, str]) -> dict[str, str]:
        if self.cities is None:
            return stems
        present = sorted({Path(stem).parts[0] for stem in stems if len(Path(stem).parts) > 1})
        for city in self.cities:
            if city not in present:
                raise ValueError(expected("cities", f"among {present}", repr(city), did_you_mean(city, present)))
        return {stem: path for stem, path in stems.items() if Path(stem).parts[0] in self.cities}

    def _report_unpaired(self, without_label: list[str], without_photo: list[str]) -> None:
        parts = []
        if without_label:
            parts.append(f"{len(without_label)} photographs have no label ({shorten(without_label)})")
        if without_photo:
            parts.append(f"{len(without_photo)} labels have no photograph ({shorten(without_photo)})")
        if not parts:
            return
        message = (
            f"Expected every photograph in '{self._photo_dir}' to have a label '*{self.seg_map_suffix}' "
            f"in '{self.data_prefix['seg_map_path']}' and the reverse, but {' and '.join(parts)}."
        )
        if self.unpaired == "error":
            raise ValueError(f"{message} Add the missing files, or set unpaired='skip'.")
        print_log(f"{message} They are left out.", logger="current", level=logging.WARNING)
