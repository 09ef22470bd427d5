"""The network of a model as one function of a tensor of images, for the export."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.deployment import detectors
from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.inference.predicting import is_detector
from wavemix_mm.models.backbones.wavemix import WaveMix

DYNAMIC = torch.export.Dim.DYNAMIC
LOGITS = "logits"
_SIDE = 32  # least side of images for networks other than WaveMix


class Graph(nn.Module):
    """A segmentor, a classifier or a detector without data samples and the toolbox around it.

    Args:
        model: A model of `wavemix_mm.apis.init_model`. It is copied.
        preprocess: Take 8-bit images as they are in a file, and normalize them inside.
        deploy: Fold norms and the transform, as `switch_to_deploy()` does.

    Attributes:
        task: 'segmentation', 'classification' or 'detection'.
        output_names: Name of each output.
        least_side: Least height and width of images.

    Raises:
        UserInputError: If the model is a detector, but not a one-stage detector.
    """

    def __init__(self, model: nn.Module, preprocess: bool = False, deploy: bool = True) -> None:
        super().__init__()
        if is_detector(model):
            detectors.check_one_stage(model)
            self.task = "detection"
        else:
            self.task = "segmentation" if hasattr(model, "decode_head") else "classification"
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        if deploy:
            switch_to_deploy(self.model)
        self.preprocess = preprocess
        self.normalize = Normalize(model)
        self.in_channels = in_channels(model)
        self.align_corners = getattr(getattr(model, "decode_head", None), "align_corners", False)
        self.least_side = least_side(model)
        scale = math.ceil(self.least_side / 64)
        self.example_size = (64 * scale, 96 * scale)
        self.output_names = [LOGITS]
        if self.task == "detection":
            with torch.no_grad():
                outputs = self.model(torch.zeros(1, self.in_channels, *self.example_size))
            self.output_names = [*detectors.output_names(self.model.bbox_head, outputs)]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return the logits of a batch of images, or the maps of a detector's head.

        Args:
            images: (N, C, H, W) in float32, normalized. With `preprocess` (N, H, W, C) in uint8,
                in RGB order or gray.

        Returns:
            Logits (N, classes, H, W) of a segmentor, (N, classes) of a classifier. The maps of a
            detector, in the order of `output_names`.
        """
        if self.preprocess:
            images = self.normalize(images)
        logits = self.model(images, mode="tensor")
        if self.task == "detection":
            return detectors.flatten(logits)
        if self.task == "segmentation":
            size = images.shape[-2:]
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=self.align_corners)
        return logits

    def example(self) -> Tensor:
        """Return images to export with.

        With a batch of 1 or equal sides, torch.export would treat them as constants.
        """
        return self.random_images(2, *self.example_size)

    def random_images(self, batch: int, height: int, width: int, seed: int = 0) -> Tensor:
        """Return random images in the format that `forward` takes."""
        generator = torch.Generator().manual_seed(seed)
        if self.preprocess:
            shape: tuple[int, ...] = (batch, height, width, self.in_channels)
            return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return torch.randn(batch, self.in_channels, height, width, generator=generator)

    def dynamic_shapes(self, sides: bool = True) -> tuple[dict[int, object]]:
        """Return which dimensions of the images are free: the batch, and the two sides."""
        first = 1 if self.preprocess else 2
        return ({0: DYNAMIC} | ({first: DYNAMIC, first + 1: DYNAMIC} if sides else {}),)


class Normalize(nn.Module):
    """The normalization of a model's data preprocessor.

    Args:
        model: A model with a `data_preprocessor` of mmseg, mmpretrain or mmdet.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        preprocessor = model.data_preprocessor
        channels = in_channels(model)
        has_norm = preprocessor._enable_normalize
        for name, value in (("mean", 0.0), ("std", 1.0)):
            given = getattr(preprocessor, name) if has_norm else torch.full((1,), value)
            given = given.detach().float().cpu().reshape(-1, 1, 1).expand(channels, 1, 1)
            self.register_buffer(name, given.clone(), persistent=False)
        # The toolboxes read files as BGR, and exchange the channels on request. mmpretrain and the
        # two families' mmseg have different names for it.
        names = ("to_rgb", "channel_conversion", "_channel_conversion")
        to_rgb = any(getattr(preprocessor, name, False) for name in names)
        self.order = "RGB" if to_rgb else "BGR"
        if channels != 3:
            self.order = "gray" if channels == 1 else f"{channels} channels"

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, C) in RGB order, 0 to 255 -> normalized (N, C, H, W) in the model's order."""
        images = images.permute(0, 3, 1, 2).float()
        if self.order == "BGR":
            images = images.flip(1)
        return (images - self.mean) / self.std

    def undo(self, images: Tensor) -> Tensor:
        """Normalized (N, C, H, W) -> 8-bit (N, H, W, C) in RGB order."""
        images = images * self.std + self.mean
        if self.order == "BGR":
            images = images.flip(1)
        return images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_channels(model: nn.Module) -> int:
    """Return the number of channels of a model's images."""
    return next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))


def least_side(model: nn.Module) -> int:
    """Return the least height and width at which every runtime serves an exported model.

    torch.export and OpenVINO need two rows and columns at the highest level of the transform, and
    on the smallest map of a detector.
    """
    backbone: Any = model.backbone
    least = _SIDE
    if isinstance(backbone, WaveMix):
        highest = max(block.levels[-1] for block in backbone.blocks)
        least = backbone.stem.stride * (2**highest + 1)
    strides = detectors.strides(getattr(model, "bbox_head", None))
    return max([least, *(stride + strides[0] for stride in strides)])


@contextlib.contextmanager
def exporting(what: str, done: str = "exported") -> Iterator[None]:
    """Hide the log of exporters, and raise their errors as "`what` cannot be `done`: ..."."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            building(f"{what} cannot be {done}"),
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            torch.no_grad(),
        ):
            yield
    finally:
        logging.disable(level)
