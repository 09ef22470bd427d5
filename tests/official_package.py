"""The authors' package `wavemix` 0.2.4, the reference for parity."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np
import torch
from torch import nn


def import_official() -> ModuleType:
    """Import the package with its two networks, `classification` and `SemSegment`.

    Its first line of use, an import that it does not need, asks for a module that NumPy 2 has no
    more: a stand-in of that name serves while the package is imported.
    """
    name = "numpy.lib.function_base"
    stand_in = ModuleType(name)
    stand_in.hamming = np.hamming
    added = sys.modules.setdefault(name, stand_in) is stand_in
    try:
        official = importlib.import_module("wavemix")
        importlib.import_module("wavemix.classification")
        importlib.import_module("wavemix.SemSegment")
    finally:
        if added:
            del sys.modules[name]
    return official


def set_transform_dtype(official: ModuleType, dtype: torch.dtype) -> None:
    """Their transforms are global modules on one device; bring them to the CPU and a type."""
    for transform in (official.xf1, official.xf2, official.xf3, official.xf4):
        transform.to("cpu", dtype)


class SegmentationOnClassification(nn.Module):
    """Their classification network with a segmentation head in the place of `pool`.

    This is what the authors' released Cityscapes weights were trained with (192 -> 128 -> 64).
    """

    def __init__(self, network: nn.Module, widths: tuple[int, int], num_classes: int) -> None:
        super().__init__()
        self.layers, self.conv = network.layers, network.conv
        self.pool = nn.Sequential(
            nn.ConvTranspose2d(self.conv[2].out_channels, widths[0], 4, stride=2, padding=1),
            nn.ConvTranspose2d(*widths, 4, stride=2, padding=1),
            nn.Conv2d(widths[1], num_classes, 1),
        )

    def forward(self, x):
        x = self.conv(x)
        for layer in self.layers:
            x = layer(x) + x
        return self.pool(x)


class OlderClassification(nn.Module):
    """Their classification network of an older version: `final` before the pooling."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.layers, self.conv = network.layers, network.conv
        self.final = nn.Conv2d(network.pool[2].in_features, channels, 1)
        self.pool = nn.Sequential(
            network.pool[0], network.pool[1], nn.Linear(channels, network.pool[2].out_features)
        )

    def forward(self, x):
        x = self.conv(x)
        for layer in self.layers:
            x = layer(x) + x
        return self.pool(self.final(x))
