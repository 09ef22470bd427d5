"""Paint predictions on a few validation images, for the log of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine import fileio
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from wavemix_mm.engine.messages import check_integers, error_message
from wavemix_mm.registry import HOOKS


@HOOKS.register_module()
class ValidationPicturesHook(Hook):
    """Paint the predictions on the same few validation images, about ten times in a run.

    A picture of a segmentation shows the image, the truth and the prediction. For other tasks the
    visualizer of the config draws. Its backends keep the pictures: files in the folder
    ``vis_data/vis_image`` of a run, TensorBoard and so on. No display is needed. The hooks of mmseg
    and mmpretrain for this purpose draw in every validation and in every test; mmseg's reads each
    image of the validation set a second time, and takes seconds of a CPU for a large picture.

    A picture that cannot be drawn is reported once, and the training goes on without pictures.

    Args:
        number: Number of images, spread over the validation set; 0 for none.
        times: Most validations of a run that draw, spread over the run.

    Raises:
        UserInputError: If an argument is no integer of at least 0, or 1 for `times`.

    Example:
        >>> default_hooks = dict(pictures=dict(type='wavemix_mm.ValidationPicturesHook', number=8))
    """

    priority = "LOWEST"  # not before the numbers of the validation

    def __init__(self, number: int = 2, times: int = 10) -> None:
        check_integers(self, 0, number=number)
        check_integers(self, 1, times=times)
        self.number = number
        self.times = times
        self._last_part = -1  # of the run, in which a validation has drawn
        self._due: set[int] = set()  # indices of batches whose first image is drawn

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the batches to draw."""
        # a validation outside of a training has no length to compare with: it draws
        part = self.times * runner.iter // max(runner.max_iters, 1)
        self._due = set()
        if part == self._last_part or not is_main_process():
            return
        self._last_part = part
        batches = len(runner.val_loop.dataloader)
        self._due = {(2 * i + 1) * batches // (2 * self.number) for i in range(self.number)}

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the first image of a chosen batch."""
        if batch_idx not in self._due or not outputs:
            return
        try:
            self._draw(runner, batch_idx, data_batch, outputs[0])
        # A visualizer is a class of any package, and a picture is not worth a training.
        except Exception as error:
            self.number, self._due = 0, set()
            runner.logger.warning(
                f"No picture of a prediction can be drawn: {error_message(error)}"
            )

    def _draw(self, runner: Runner, batch_idx: int, data_batch: Any, sample: Any) -> None:
        visualizer: Any = runner.visualizer
        path = getattr(sample, "img_path", None)
        # MLflow wants a name with the ending of an image file
        name = f"val_{os.path.basename(path) if path else f'{batch_idx}.png'}"
        if hasattr(visualizer, "visualize_cls"):  # mmpretrain's
            image = data_batch["inputs"][0].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
            image = image[..., ::-1] if image.shape[2] == 3 else np.repeat(image, 3, axis=2)
            visualizer.visualize_cls(
                np.ascontiguousarray(image), sample, name=name, step=runner.iter
            )
            return
        image = mmcv.imfrombytes(fileio.get(path), channel_order="rgb")
        if "pred_sem_seg" not in sample:
            visualizer.add_datasample(name, image, data_sample=sample, step=runner.iter)
            return
        fields = [key for key in ("gt_sem_seg", "pred_sem_seg") if key in sample]
        labels = [sample.get(key).data[0].cpu().numpy() for key in fields]
        palette = visualizer.dataset_meta["palette"]
        panels = [image, *(_blend(image, label, palette) for label in labels)]
        visualizer.add_image(name, np.hstack(panels), step=runner.iter)


def _blend(image: np.ndarray, label: np.ndarray, palette: Sequence) -> np.ndarray:
    """Blend an image (H, W, 3) with the colors of its labels (H, W); others are black."""
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    return cv2.addWeighted(image, 0.5, colors[label.astype(np.uint8)], 0.5, 0)
