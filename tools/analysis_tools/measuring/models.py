"""Build the model that a user names, with random weights and without any download."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import logging
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.config import dicts, load_config, parse_options
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

# Packages whose configs may be named without a path, in this order.
_CONFIG_PACKAGES = ("wavemix_mm", "mmseg", "mmpretrain")


class Logits(nn.Module):
    """A network of any package as one function from images to logits."""

    def __init__(
        self,
        network: nn.Module,
        name: str = "",
        image_size: tuple[int, int] = (224, 224),
        is_authors: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.name, self.image_size = network, name, image_size
        self.is_authors = is_authors  # whether the network is the authors' own code
        self.arguments = dict(mode="tensor") if hasattr(network, "data_preprocessor") else {}
        convolutions = (m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d))
        self.in_channels = 3 if is_authors else next(convolutions, 3)

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


def build_model(words: Sequence[str]) -> Logits:
    """Build a network in float32 on the CPU.

    Args:
        words: A model, then `name=LABEL` and any `KEY=VALUE`. The model is a config (path or name),
            `official:CONFIG` (the authors' network of the config's architecture), `official:seg`,
            `official:cls`, `timm:NAME` or `torchvision:NAME`. A KEY is one of the config, or an
            argument of the constructor.

    Raises:
        UserInputError: If the network cannot be built.
    """
    text = " ".join(words)
    options = parse_options(list(words[1:]))
    name = str(options.pop("name", ""))
    package, _, target = words[0].partition(":")
    is_authors = package == "official"
    with building(f"model {text!r} cannot be built"):
        if is_authors:
            networks.set_transforms("cpu", torch.float32)  # they start on a GPU if there is one
        if package in ("timm", "torchvision"):
            return Logits(_build_from_library(package, target, options), name or text)
        if is_authors and target in ("seg", "cls"):
            network = networks.build_official(target, options)
            return Logits(network, name or text, is_authors=True)
        path = find_config(target if is_authors else words[0])
        network, size = _build_from_config(path, options)
        name = name or " ".join([Path(path).stem, *words[1:]])
        if is_authors:
            network, name = networks.build_counterpart(network, text), f"{name}, authors"
        return Logits(network, name, size, is_authors)


def read_models(texts: Sequence[str], file: str | None = None) -> list[list[str]]:
    """Return the words of each model: the model, and each KEY=VALUE after it.

    Args:
        texts: Words of the command line; several words may be one argument in quotes.
        file: A list of more models.

    Raises:
        UserInputError: If the file or a quotation cannot be read, or no model is named.
    """
    try:
        words = [word for text in texts for word in shlex.split(text)]
        if file:
            words += shlex.split(Path(file).read_text(encoding="utf-8"), comments=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserInputError(f"list {file}: {reason}." if file else f"MODEL: {reason}.") from error
    models: list[list[str]] = []
    for word in words:
        if "=" in word and models:
            models[-1].append(word)
        else:
            models.append([word])
    if not models:
        raise UserInputError(f"list {file} names no model.")
    return models


def find_config(name: str) -> str:
    """Return the path of a config that is given by its path or by its name.

    Raises:
        UserInputError: If there is no such config; the message names the nearest ones.
    """
    if Path(name).suffix == ".py" or len(Path(name).parts) > 1:
        return name  # load_config says what is wrong with a path
    configs = _configs_by_name()
    if name in configs:
        return str(configs[name])
    if importlib.util.find_spec("mmpretrain"):
        from mmpretrain.apis import ModelHub

        with contextlib.suppress(ValueError):  # it has no such model
            return ModelHub.get(name).config.filename
    near = difflib.get_close_matches(name, configs, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    raise UserInputError(
        f"model {name!r} is neither the path of a config nor the name of one in wavemix_mm, mmseg "
        f"or mmpretrain{hint} Others are written timm:NAME, torchvision:NAME, official:NAME."
    )


@cache
def _configs_by_name() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for package in _CONFIG_PACKAGES:
        if (spec := importlib.util.find_spec(package)) and spec.origin:
            folder = Path(spec.origin).parent
            # a clone that is not installed has no .mim
            root = folder / ".mim" if (folder / ".mim").exists() else folder.parent
            for path in sorted((root / "configs").rglob("*.py")):
                if "_base_" not in path.parts:
                    found.setdefault(path.stem, path)
    return found


def _build_from_config(path: str, options: dict[str, Any]) -> tuple[nn.Module, tuple[int, int]]:
    """Return the network, and the (H, W) of its images: 224x224 if the config does not say."""
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # no report on what is built
    cfg = load_config(path, options)
    if "model" not in cfg:
        raise UserInputError(f"config {path} has no model.")
    preprocessor = cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    for node in dicts(cfg.model):
        node.pop("pretrained", None)  # by which some backbones download weights when they are built
    # Weights named by an init_cfg are loaded by `init_weights`, which is not called.
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        network = MODELS.build(cfg.model)
    return revert_sync_batchnorm(network), tuple(preprocessor.get("size") or (224, 224))


def _build_from_library(package: str, name: str, options: dict[str, Any]) -> nn.Module:
    if package == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **options)
    from torchvision.models import get_model, get_model_builder

    arguments = get_model_builder(name).__annotations__
    weights = {key: None for key in ("weights", "weights_backbone") if key in arguments}
    return get_model(name, **weights, **options)
