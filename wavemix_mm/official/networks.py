"""Networks of the authors' package `wavemix` 0.2.4 that equal our models."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.wavelet import HAAR
from wavemix_mm.official import convert_official

_TRANSFORMS = ("xf1", "xf2", "xf3", "xf4")


def import_official() -> ModuleType:
    """Import the authors' package with its two networks, `classification` and `SemSegment`.

    The package imports, without need, a module that NumPy 2 no longer has. A stand-in of that name
    exists while the package is imported.

    Raises:
        UserInputError: If the package is not installed.
    """
    if importlib.util.find_spec("wavemix") is None:
        raise UserInputError(
            "the authors' package is not installed: pip install wavemix==0.2.4 einops."
        )
    name = "numpy.lib.function_base"
    stand_in = ModuleType(name)
    stand_in.hamming = np.hamming  # type: ignore[attr-defined]
    added = sys.modules.setdefault(name, stand_in) is stand_in
    try:
        official = importlib.import_module("wavemix")
        importlib.import_module("wavemix.classification")
        importlib.import_module("wavemix.SemSegment")
    finally:
        if added:
            del sys.modules[name]
    return official


def set_transforms(device: str | torch.device, dtype: torch.dtype) -> None:
    """Move the authors' wavelet transforms, global modules, to one device and one type."""
    official = import_official()
    for name in _TRANSFORMS:
        getattr(official, name).to(device, dtype)


def add_segmentation_head(
    network: nn.Module, widths: tuple[int, int], num_classes: int
) -> nn.Module:
    """Put a segmentation head in the place of `pool` of the authors' classification network.

    The authors' released Cityscapes weights are of this network, with the widths 128 and 64.

    Returns:
        The network: (N, 3, H, W) -> (N, num_classes, H * 4/s, W * 4/s), s the stem's stride.
    """
    network.pool = nn.Sequential(
        nn.ConvTranspose2d(network.conv[2].out_channels, widths[0], 4, stride=2, padding=1),
        nn.ConvTranspose2d(*widths, 4, stride=2, padding=1),
        nn.Conv2d(widths[1], num_classes, 1),
    )
    return network


class OlderClassification(nn.Module):
    """The authors' classification network of an older version: `final` before the pooling."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.layers, self.conv = network.layers, network.conv
        self.final = nn.Conv2d(network.pool[2].in_features, channels, 1)
        self.pool = nn.Sequential(
            network.pool[0], network.pool[1], nn.Linear(channels, network.pool[2].out_features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        x = self.conv(x)
        for layer in self.layers:
            x = layer(x) + x
        return self.pool(self.final(x))


def build_official(task: str, options: dict[str, Any]) -> nn.Module:
    """Build one of the authors' two networks.

    Args:
        task: 'seg' or 'cls'.
        options: Arguments of its constructor.
    """
    official = import_official()
    module = official.SemSegment if task == "seg" else official.classification
    return module.WaveMix(**options)


def build_counterpart(ours: nn.Module, name: str) -> nn.Module:
    """Build the authors' network that has the architecture of one of our models.

    Args:
        ours: A segmentor or classifier with the backbone `wavemix_mm.WaveMix`.
        name: The model's name in the error message.

    Raises:
        UserInputError: If the authors' package cannot build it.
    """
    try:
        theirs = _counterpart(ours)
        converted = convert_official(theirs.state_dict())
        shapes = {key: value.shape for key, value in ours.state_dict().items()}
        is_equal = {key: value.shape for key, value in converted.items()} == shapes
        # a wavelet has no parameters, so that the shapes do not tell
        is_equal &= all(block.token_mixer.wavelet in HAAR for block in ours.backbone.blocks)
    except (AttributeError, IndexError, TypeError):  # another backbone, or a layer they lack
        is_equal = False
    if not is_equal:
        raise UserInputError(
            f"model {name!r} has no counterpart in the authors' package, which builds WaveMix with "
            "levels 1 to L <= 4, Haar, transposed convolutions and three input channels."
        )
    return theirs


def _counterpart(ours: nn.Module) -> nn.Module:
    backbone, path = ours.backbone, ours.backbone.blocks[0].paths[0]
    is_segmentor = hasattr(ours, "decode_head")
    head = ours.decode_head if is_segmentor else ours.head
    options = dict(
        num_classes=head.num_classes,
        depth=backbone.depth,
        mult=path.expand.out_channels // backbone.embed_dims,
        ff_channel=path.project.out_channels,
        final_dim=backbone.embed_dims,
        dropout=path.dropout.p,
        level=len(backbone.blocks[0].paths),
    )
    is_strided = hasattr(backbone.stem, "conv2") and not hasattr(backbone.stem, "patch_conv")
    if is_strided:
        stem = dict(initial_conv="strided", stride=backbone.stem.conv1.stride[0])
    else:
        stem = dict(initial_conv="pachify", patch_size=backbone.stem.stride)
    if not is_segmentor:
        network = build_official("cls", options | stem)
        channels = getattr(getattr(ours.neck, "conv", None), "out_channels", None)
        return OlderClassification(network, channels) if channels else network
    widths = tuple(layer.out_channels for layer in head.upsamples)
    if is_strided and widths == (backbone.embed_dims // 2, backbone.embed_dims // 4):
        return build_official("seg", options | dict(stride=stem["stride"]))
    return add_segmentation_head(build_official("cls", options | stem), widths, head.num_classes)


@torch.no_grad()
def randomize_norms(network: nn.Module) -> None:
    """Give batch norms random parameters and statistics, because fresh ones change nothing."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.5)
