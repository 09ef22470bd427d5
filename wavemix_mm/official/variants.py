"""Detect the authors' architecture from a converted state dict, and find the config for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wavemix_mm.errors import UserInputError

# Number of classes -> word -> config. The word is looked for in the name of the checkpoint.
_PATCH_CONFIGS = {
    10: {"galaxy": "galaxy10", "cifar": "cifar10_in1k", "svhn": "svhn_in1k"},
    100: {"": "cifar100_in1k"},
    200: {"": "tiny_imagenet_in1k"},
    365: {"": "places365"},
    1000: {"": "imagenet"},
    10000: {"": "inat2021_mini"},
}
_STRIDED_CONFIGS = {
    10: {"cifar": "cifar10", "svhn": "svhn"},
    100: {"": "cifar100"},
    200: {"": "tiny_imagenet"},
    365: {"": "places365"},
    1000: {"": "imagenet"},
    10000: {"": "inat2021_mini"},
}

_DEFAULT_STEM = dict(type="wavemix_mm.PatchStem", patch_size=4)


@dataclass(frozen=True)
class Variant:
    """Architecture of one of the authors' networks, detected from its tensors.

    Attributes:
        patch_size: None if the stem has two strided convolutions.
        head: Channels between backbone and classes: two numbers for a segmentation network, one for
            a classification network with a convolution before the pooling, else none.
    """

    is_segmentation: bool
    in_channels: int
    embed_dims: int
    depth: int
    levels: int
    ff_channels: int
    mlp_ratio: float
    patch_size: int | None
    head: tuple[int, ...]
    num_classes: int

    @property
    def arch(self) -> str:
        """The backbone's name for `WaveMix(arch=...)`."""
        name = f"{self.embed_dims}/{self.depth}"
        return f"lite-{name}" if self.levels == 1 else f"{name}-l{self.levels}"

    @property
    def stride(self) -> int:
        """Stride of each convolution of a strided stem.

        The tensors do not show it. The released classification networks of one level have small
        images and keep their resolution. All other networks reduce it to a quarter.
        """
        return 1 if self.levels == 1 and not self.is_segmentation else 2

    def __str__(self) -> str:
        stem = f"patches of {self.patch_size}" if self.patch_size else "two strided convolutions"
        task = "segmentation" if self.is_segmentation else "classification"
        widths = " -> ".join(map(str, (self.embed_dims, *self.head, self.num_classes)))
        extra = "" if self.ff_channels == self.embed_dims else f", ff {self.ff_channels}"
        extra += "" if self.mlp_ratio == 2 else f", mul {self.mlp_ratio:g}"
        return f"WaveMix {self.arch}{extra}, stem of {stem}, {task} head {widths}"


def detect_variant(state_dict: Mapping[str, Tensor]) -> Variant:
    """Detect the architecture from a state dict that `convert_official` has returned.

    Raises:
        UserInputError: If a tensor that shows it is missing.
    """

    def shape(key: str) -> tuple[int, ...]:
        if key not in state_dict or state_dict[key].dim() < 2:
            raise UserInputError(f"the checkpoint is incomplete: a tensor for {key} is missing.")
        return tuple(state_dict[key].shape)

    def numbers(pattern: str) -> list[int]:
        return [int(match[1]) for key in state_dict if (match := re.match(pattern, key))]

    stem = "backbone.stem.patch_conv.weight"
    embed_dims = shape(stem if stem in state_dict else "backbone.stem.conv2.weight")[0]
    is_segmentation = "decode_head.conv_seg.weight" in state_dict
    head: tuple[int, ...] = ()
    if is_segmentation:
        head = tuple(shape(f"decode_head.upsamples.{i}.weight")[1] for i in (0, 1))
    elif "neck.conv.weight" in state_dict:
        head = shape("neck.conv.weight")[:1]
    final = "decode_head.conv_seg.weight" if is_segmentation else "head.fc.weight"
    path = "backbone.blocks.0.paths.0"
    hidden = shape(f"{path}.expand.weight")[0]
    return Variant(
        is_segmentation=is_segmentation,
        in_channels=shape("backbone.stem.conv1.weight")[1],
        embed_dims=embed_dims,
        depth=max(numbers(r"backbone\.blocks\.(\d+)\.")) + 1,
        levels=max(numbers(r"backbone\.blocks\.0\.paths\.(\d+)\.")) + 1,
        ff_channels=shape(f"{path}.project.weight")[0],
        mlp_ratio=hidden // embed_dims if hidden % embed_dims == 0 else hidden / embed_dims,
        patch_size=state_dict[stem].shape[-1] if stem in state_dict else None,
        head=head,
        num_classes=shape(final)[0],
    )


def find_config(variant: Variant, source: str) -> str:
    """Return the name of the nearest config in configs/wavemix/.

    Args:
        variant: The architecture to build. `config_options` returns what the config lacks.
        source: Name of the checkpoint, because tensors do not distinguish CIFAR-10 from SVHN.
    """
    if variant.is_segmentation:
        return "cityscapes_in1k-192-16-l3" if variant.patch_size else "cityscapes"
    configs = _PATCH_CONFIGS if variant.patch_size else _STRIDED_CONFIGS
    named = configs.get(variant.num_classes) or configs[1000 if variant.patch_size else 10]
    words = [word for word in named if word in source.lower()]
    return named[words[0]] if words else next(iter(named.values()))


def config_options(variant: Variant, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `--cfg-options` that let a config build the variant.

    Args:
        variant: The architecture to build.
        model: `model` of a config in configs/wavemix/.
    """
    stem = dict(type="wavemix_mm.StridedStem", stride=variant.stride)
    if variant.patch_size:
        stem = dict(type="wavemix_mm.PatchStem", patch_size=variant.patch_size)
    backbone: dict[str, Any] = dict(
        arch=variant.arch,
        in_channels=variant.in_channels,
        ff_channels=variant.ff_channels,
        mlp_ratio=variant.mlp_ratio,
        stem=stem,
    )
    defaults = dict(in_channels=3, ff_channels=variant.embed_dims, mlp_ratio=2, stem=_DEFAULT_STEM)
    for key, value in defaults.items():
        if key not in model["backbone"] and backbone[key] == value:
            del backbone[key]
    wanted: dict[str, Any] = dict(backbone=backbone)
    head: dict[str, Any] = dict(num_classes=variant.num_classes, in_channels=variant.embed_dims)
    if variant.is_segmentation:
        head |= zip(("mid_channels", "channels"), variant.head, strict=True)
        return _differences("model", wanted | dict(decode_head=head), model)
    neck: dict[str, Any] = dict(type="GlobalAveragePooling")
    if variant.head:
        (width,) = variant.head
        neck = dict(type="wavemix_mm.ChannelMixing", in_channels=variant.embed_dims)
        neck["out_channels"] = head["in_channels"] = width
    return _differences("model", wanted | dict(neck=neck, head=head), model)


def _differences(name: str, wanted: Mapping[str, Any], have: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that change a dict of a config. Another type replaces all of it."""
    options: dict[str, Any] = {}
    if have and "type" in wanted and have["type"] != wanted["type"]:
        options[f"{name}._delete_"], have = True, {}
    for key, value in wanted.items():
        if isinstance(value, dict):
            options |= _differences(f"{name}.{key}", value, have.get(key) or {})
        elif have.get(key) != value:
            options[f"{name}.{key}"] = value
    return options
