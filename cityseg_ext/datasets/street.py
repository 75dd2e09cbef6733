"""What data sets of street scenes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmseg.datasets import BaseSegDataset

from cityseg_ext.checks import check_at_least, check_choice, expected
from cityseg_ext.datasets.quarantine import ON_ERROR, Quarantine
from cityseg_ext.labels import IGNORE_INDEX, TAXONOMIES, TaxonomyLike, get_taxonomy


class StreetDataset(BaseSegDataset):
    """The base of data sets whose labels our loaders read: classes, endings of names, and what a sample carries.

    Args:
        data_root: the folder of the data.
        data_prefix: folders below ``data_root``.
        taxonomy: which classes there are: ``'cityscapes19'``, ``'cityscapes29'``, a
            :class:`~cityseg_ext.labels.Taxonomy`, or a palette of one's own, class name -> RGB colour.
        img_suffix: ends of photograph names, one or several.
        seg_map_suffix: end of label names.
        max_images: keep only the first so many samples.
        on_error: what to do in training about a sample that cannot be read: ``'raise'`` its error, or ``'skip'``: take
            a random other one in its place, now and in later epochs, as long as at least half of the samples are good.
            Validation and test always raise.
        pipeline: transforms. ``LoadImageFromFile`` stands for ``LoadStreetImage``, so that a stock pipeline too names
            files that it cannot read, and takes the right half of an image pair.
        test_mode, lazy_init, indices, serialize_data, max_refetch, backend_args: as in mmseg's
            ``BaseSegDataset``.
    """

    def __init__(
        self,
        data_root: str,
        data_prefix: dict,
        taxonomy: TaxonomyLike,
        img_suffix: str | Sequence[str],
        seg_map_suffix: str,
        max_images: int | None = None,
        on_error: str = "raise",
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        max_refetch: int = 1000,
        backend_args: dict | None = None,
    ) -> None:
        if max_images is not None:
            check_at_least("max_images", max_images, 1)
        check_choice("on_error", on_error, ON_ERROR)
        self.on_error = on_error
        self.quarantine = Quarantine()
        self.taxonomy = get_taxonomy(taxonomy)
        self.img_suffixes = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        self.max_images = max_images
        super().__init__(
            img_suffix=self.img_suffixes[0],
            seg_map_suffix=seg_map_suffix,
            metainfo=self.taxonomy.metainfo,
            data_root=data_root,
            data_prefix=data_prefix,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=[_own_loader(transform) for transform in pipeline],
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
            ignore_index=IGNORE_INDEX,
            backend_args=backend_args,
        )

    def prepare_data(self, idx: int) -> dict | None:
        """Run a sample through the pipeline; None stands for a bad one, and mmengine then takes another."""
        if self.on_error == "raise" or self.test_mode:
            return super().prepare_data(idx)
        path = self.get_data_info(idx)["img_path"]
        if path in self.quarantine:
            return None
        try:
            return super().prepare_data(idx)
        except (OSError, ValueError) as error:
            self.quarantine.add(path, str(error))
            if 2 * len(self.quarantine) > len(self):
                found = f"{len(self.quarantine)} of {len(self)} bad ones, the last being: {error}"
                raise ValueError(expected("on_error", "'raise' unless most samples can be read", found)) from error
            return None

    def _data_info(self, photo: str, label: str | None, source: str) -> dict:
        """What the pipeline gets to know about a sample."""
        known = TAXONOMIES.get(self.taxonomy.name) == self.taxonomy
        info = dict(
            img_path=photo,
            label_map=None,
            reduce_zero_label=False,
            seg_fields=[],
            label_source=source,
            taxonomy=self.taxonomy.name if known else self.taxonomy,  # a name is short to send to workers
        )
        if label is not None:
            info["seg_map_path"] = label
        return info


def _own_loader(transform: dict | Callable) -> dict | Callable:
    if isinstance(transform, dict) and transform["type"] == "LoadImageFromFile":
        return {**transform, "type": "LoadStreetImage"}
    return transform
