"""The registered face of ``functional.label_resize``."""

from __future__ import annotations

from mmseg.datasets.transforms import Resize
from mmseg.registry import TRANSFORMS

from cityseg_ext.functional.label_resize import resize_labels


@TRANSFORMS.register_module()
class AlignedResize(Resize):
    """mmseg's ``Resize``, except that labels are resized centre on centre and so stay under their photograph.

    Inside ``RandomResize`` say ``resize_type='AlignedResize'``.

    Required Keys:

    - img (np.ndarray)
    - seg_fields (list), and the maps that it names: optional

    Modified Keys:

    - img, img_shape
    - the maps of seg_fields (np.ndarray): (H, W), of the image's new size

    Added Keys:

    - scale, scale_factor, keep_ratio

    Args:
        scale, scale_factor, keep_ratio, clip_object_border, backend, interpolation: as in mmseg's ``Resize``;
            ``interpolation`` is that of the image.
    """

    def _resize_seg(self, results: dict) -> None:
        height, width = results["img"].shape[:2]  # the image has been resized before
        for key in results.get("seg_fields", ()):
            results[key] = resize_labels(results[key], height, width)
