"""The authors' package `wavemix` 0.2.4, the reference for parity."""

from __future__ import annotations

from types import ModuleType

import torch

from wavemix_mm.official.networks import (
    OlderClassification,
    SegmentationOnClassification,
    import_official,
    set_transforms,
)

__all__ = [
    "OlderClassification",
    "SegmentationOnClassification",
    "import_official",
    "set_transform_dtype",
]


def set_transform_dtype(official: ModuleType, dtype: torch.dtype) -> None:
    """Bring their transforms to the CPU and a type."""
    set_transforms("cpu", dtype)
