"""WaveMix, the wavelet token-mixing network, as a plugin for OpenMMLab.

The import registers the plugin in those parts of OpenMMLab that this process has imported, and
imports no torch. Models and other types register themselves when a config names one
(`wavemix_mm/registry.py`).
"""

from __future__ import annotations

import functools
import sys
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .official import convert_official

__all__ = ["__version__", "connect", "convert_official"]


def connect(imported_only: bool = False) -> None:
    """Register the plugin in mmengine, and in mmpretrain if it is installed.

    `import wavemix_mm` and the first use of one of our types do this for what the process has
    imported by then. A program needs the call only if it imports `wavemix_mm` before OpenMMLab;
    README says for what. A second call registers nothing again.

    Args:
        imported_only: Leave out what would import torch or mmpretrain.

    Raises:
        ImportError: If no OpenMMLab packages are installed, or two families of them. The message
            is the one of `python -m wavemix_mm doctor`, with the command that fixes it.
    """
    from .host.environment import check_stack

    check_stack()
    _register_configs()
    if not imported_only or sys.modules.get("torch"):
        _register_checkpoints()
    if sys.modules.get("mmpretrain.apis") or (not imported_only and find_spec("mmpretrain")):
        _register_models()


@functools.cache  # once for each process
def _register_configs() -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    from .host.bases import read_own_bases

    # `wavemix_mm::<config>` as a base of a config. A program that reads a config has imported what
    # it uses, so that each base registers the plugin there too.
    read_own_bases(before_reading=lambda: connect(imported_only=True))
    # `wavemix_mm::<config>` for mmengine.hub. The value is a module: both versions of mmengine then
    # take its folder, while 0.10.7 finds no editable install by the distribution's name.
    MODULE2PACKAGE.setdefault(__name__, "wavemix_mm.version")


@functools.cache
def _register_checkpoints() -> None:
    from mmengine.infer import BaseInferencer
    from mmengine.runner import checkpoint

    from .engine.checkpoints.loading import register_finder, register_loaders
    from .host.inferencers import explain_inferencers
    from .host.model_index import SCHEME, find_weights

    # checkpoints `wavemix_mm://<name>`, and files and addresses without running their code
    register_finder(SCHEME, find_weights)
    register_loaders(checkpoint)
    # the message for weights without a config
    explain_inferencers(BaseInferencer)


@functools.cache
def _register_models() -> None:
    from mmpretrain.apis.base import BaseInferencer
    from mmpretrain.apis.model import ModelHub

    from .host.inferencers import explain_classification_inferencers
    from .host.model_index import register_models

    # the names of the classification models
    register_models(ModelHub)
    # the message for weights without a config
    explain_classification_inferencers(BaseInferencer)


def __getattr__(name: str) -> Any:
    # Lazy, since the converter needs torch, which `import wavemix_mm` does not load.
    if name == "convert_official":
        from .official import convert_official

        return convert_official
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


try:
    connect(imported_only=True)
except ImportError as error:
    # Only a warning, because `python -m wavemix_mm doctor` imports this file first. What uses
    # OpenMMLab raises the error (wavemix_mm/registry.py).
    warnings.warn(str(error), stacklevel=2)
