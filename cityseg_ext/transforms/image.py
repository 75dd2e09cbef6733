"""Reading photographs, with an error that names the file."""

from __future__ import annotations

import cv2
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS

from cityseg_ext.checks import file_problem


@TRANSFORMS.register_module()
class LoadStreetImage(LoadImageFromFile):
    """Load a photograph as mmcv's ``LoadImageFromFile`` does, but say which file it was when that fails.

    Required Keys:

    - img_path (str)

    Added Keys:

    - img (np.ndarray): uint8 (H, W, 3), BGR
    - img_shape, ori_shape (tuple[int, int]): (H, W)

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, truncated or no image.
    """

    def transform(self, results: dict) -> dict | None:
        try:
            loaded = super().transform(results)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                file_problem(results["img_path"], "an existing image", "no file", "Check `data_root` and `img_suffix`.")
            ) from error
        except (AssertionError, AttributeError, cv2.error, OSError) as error:  # what mmcv meets when OpenCV gives up
            raise ValueError(
                file_problem(
                    results["img_path"],
                    "a readable image",
                    "one that is empty, truncated or no image at all",
                    "Restore the file, or remove it together with its label.",
                )
            ) from error
        return loaded
