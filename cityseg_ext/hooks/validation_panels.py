"""How the model sees the same few photographs as it learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample

from cityseg_ext.checks import check_at_least
from cityseg_ext.hooks.prediction_panel import prediction_panel


@HOOKS.register_module()
class ValidationPanelsHook(Hook):
    """Give panels photo | ground truth | prediction | wrong pixels of a few validation images to every tracker.

    The images are spread evenly over the validation set and the same each time, as ``validation_panel_1`` and so on.
    They stand at the training iteration, where the scores of the same validation stand. On disk
    (``vis_data/vis_image``) there are ``num_images`` files of some 100 KB for each validation that is drawn.

    Args:
        num_images: how many; all of them if the set has fewer.
        interval: draw every so many validations, beginning with the first.
        max_width: panels are reduced to this width, in pixels.

    Raises:
        ValueError: if a number is less than 1, or max_width less than 256.
    """

    priority = "LOW"

    def __init__(self, num_images: int = 4, interval: int = 1, max_width: int = 1600) -> None:
        check_at_least("num_images", num_images, 1)
        check_at_least("interval", interval, 1)
        check_at_least("max_width", max_width, 256)
        self.num_images = num_images
        self.interval = interval
        self.max_width = max_width
        self._validations = 0
        self._numbers: dict[str, int] = {}  # of the images to draw, by path; empty when there is nothing to draw
        self._panels: dict[int, np.ndarray] = {}

    def before_val_epoch(self, runner) -> None:
        """Choose the images, if this validation is to be drawn."""
        self._panels.clear()
        self._numbers.clear()
        if self._validations % self.interval == 0:
            dataset = runner.val_dataloader.dataset
            number = min(self.num_images, len(dataset))
            chosen = [index * len(dataset) // number for index in range(number)]
            self._numbers = {dataset.get_data_info(index)["img_path"]: i + 1 for i, index in enumerate(chosen)}
        self._validations += 1

    def after_val_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: Sequence[SegDataSample] | None = None
    ) -> None:
        """Draw those of the chosen images that are in this batch."""
        for sample in outputs or ():
            number = self._numbers.get(sample.img_path)
            if number is not None:
                self._panels[number] = prediction_panel(sample, runner.val_dataloader.dataset, self.max_width)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Bring the panels of all ranks together; the visualizer passes them on in the first rank alone."""
        if not self._numbers:
            return
        panels: dict[int, np.ndarray] = {}
        for part in all_gather_object(self._panels):
            panels |= part
        # Asking a runner that only validates for its iteration would build its training loop.
        step = runner.iter if isinstance(runner._train_loop, BaseLoop) else 0
        for number, panel in sorted(panels.items()):
            runner.visualizer.add_image(f"validation_panel_{number}", panel, step=step)
        self._panels.clear()
