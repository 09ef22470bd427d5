"""Build what a spec names, from random weights and without any download."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from wavemix_mm.analysis.benchmark.specs import Spec
from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks
from wavemix_mm.registry import type_name

_DEFAULT_SIZE = (224, 224)


class Logits(nn.Module):
    """A network of any package as one function from images to logits.

    Attributes:
        network: The network.
        in_channels: Channels of its images.
        image_size: (H, W) that its config names, else 224x224.
        is_authors: Whether it is the authors' own code.
    """

    def __init__(self, network: nn.Module, image_size: tuple[int, int], is_authors: bool) -> None:
        super().__init__()
        self.network = network
        self.arguments = dict(mode="tensor") if hasattr(network, "data_preprocessor") else {}
        convolutions = (m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))
        self.in_channels = 3 if is_authors else next(convolutions, 3)
        self.image_size = image_size
        self.is_authors = is_authors

    def forward(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, K), or (N, K, H, W): maps are brought to the images' size.

        Of several outputs the first counts, so that auxiliary heads are left out.
        """
        logits = self.network(images, **self.arguments)
        while not isinstance(logits, Tensor):
            logits = next(iter(logits.values())) if isinstance(logits, dict) else logits[0]
        if logits.dim() == 4 and logits.shape[-2:] != images.shape[-2:]:
            logits = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        return logits


def build_model(spec: Spec) -> Logits:
    """Build a network in float32 on the CPU.

    Raises:
        UserInputError: If it cannot be built.
    """
    with building(f"model {spec.text!r} cannot be built"):
        if spec.kind == "official":
            return _build_official(spec)
        if spec.kind == "config":
            cfg = _load(spec)
            return Logits(_build_from_config(cfg), _image_size(cfg), is_authors=False)
        return Logits(_build_from_library(spec), _DEFAULT_SIZE, is_authors=False)


def _load(spec: Spec) -> Config:
    # quiet: mmengine and the toolboxes tell at length what they build and initialize
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    cfg = load_config(spec.target, spec.options)
    if "model" not in cfg:
        raise UserInputError(f"config {spec.target} has no model.")
    return cfg


def _build_from_config(cfg: Config) -> nn.Module:
    model_cfg = _without_pretrained(cfg.model.to_dict())
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        model = MODELS.build(model_cfg)
        if hasattr(model, "init_weights"):
            model.init_weights()
    return revert_sync_batchnorm(model)


def _without_pretrained(node: Any) -> Any:
    """Remove what would load or download weights."""
    if isinstance(node, list | tuple):
        items = (_without_pretrained(item) for item in node if not _is_pretrained(item))
        return type(node)(items)
    if not isinstance(node, dict):
        return node
    return {
        key: _without_pretrained(value)
        for key, value in node.items()
        if key != "pretrained" and not (key == "init_cfg" and _is_pretrained(value))
    }


def _is_pretrained(node: Any) -> bool:
    return isinstance(node, dict) and type_name(node) in ("Pretrained", "PretrainedInit")


def _image_size(cfg: Config) -> tuple[int, int]:
    """(H, W) of the data preprocessor, which segmentation configs name."""
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    size = preprocessor.get("size")
    return (int(size[0]), int(size[1])) if size else _DEFAULT_SIZE


def _build_official(spec: Spec) -> Logits:
    # On a machine with a GPU their package starts there.
    networks.set_transforms("cpu", torch.float32)
    if not spec.target.endswith(".py"):
        network = networks.build_official(spec.target, spec.options)
        return Logits(network, _DEFAULT_SIZE, is_authors=True)
    cfg = _load(spec)
    theirs = networks.build_counterpart(_build_from_config(cfg), spec.text)
    return Logits(theirs, _image_size(cfg), is_authors=True)


def _build_from_library(spec: Spec) -> nn.Module:
    if importlib.util.find_spec(spec.kind) is None:
        raise UserInputError(
            f"model {spec.text!r} needs the package {spec.kind}: pip install {spec.kind}."
        )
    if spec.kind == "timm":
        timm = importlib.import_module("timm")
        return timm.create_model(spec.target, pretrained=False, **spec.options)
    from torchvision.models import get_model, get_model_builder

    weights: dict[str, Any] = dict(weights=None)
    if "weights_backbone" in get_model_builder(spec.target).__annotations__:
        weights["weights_backbone"] = None
    return get_model(spec.target, **weights, **spec.options)
