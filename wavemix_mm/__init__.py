"""WaveMix, the wavelet token-mixing network, as a plugin for OpenMMLab.

The import registers the plugin in OpenMMLab and imports no torch: parts of mmengine that the
process imports later follow then. Models and other types register themselves when a config names
one (`wavemix_mm/registry.py`).
"""

from __future__ import annotations

import functools
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .official import convert_official

__all__ = ["__version__", "connect", "convert_official"]


def connect(imported_only: bool = False) -> None:
    """Register the plugin in mmengine, and in mmpretrain if it is installed.

    `import wavemix_mm` does this for the parts of mmengine that the process has imported, and for
    the others as soon as the process imports them. A program needs the call only if it imports
    mmpretrain later and asks it for our models by name. A second call registers nothing again.

    Args:
        imported_only: Leave out what would import torch or mmpretrain.

    Raises:
        ImportError: If no OpenMMLab packages are installed, or two families of them. The message
            is the one of `python -m wavemix_mm doctor`, with the command that fixes it.
    """
    from .host.environment import check_stack

    check_stack()
    import mmengine

    _register_names()
    mmengine.__class__ = _MMEngine
    for submodule, register in _SUBMODULES.items():
        if not imported_only or hasattr(mmengine, submodule):
            register()
    if hasattr(sys.modules.get("mmpretrain"), "apis") or (
        not imported_only and find_spec("mmpretrain")
    ):
        _register_models()


class _MMEngine(ModuleType):
    """The module `mmengine`, which notes the import of its submodules.

    Python binds a submodule to its package after the import. Checkpoints are thus read without
    running their code from the first one on, and `import wavemix_mm` need not import torch.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _SUBMODULES:
            _SUBMODULES[name]()


@functools.cache  # once for each process
def _register_names() -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    from .engine.checkpoints import FINDERS
    from .host.bases import read_own_bases
    from .host.model_index import SCHEME, find_weights

    # `wavemix_mm::<config>` as a base of a config. A program that reads a config has imported what
    # it uses, so each base registers our models in mmpretrain, too.
    read_own_bases(before_reading=lambda: connect(imported_only=True))
    # `wavemix_mm::<config>` for mmengine.hub. The value is a module: both versions of mmengine then
    # take its folder, while 0.10.7 finds no editable install by the distribution's name.
    MODULE2PACKAGE.setdefault(__name__, "wavemix_mm.version")
    # checkpoints `wavemix_mm://<name>` for our own reader, and for mmengine's loaders later
    FINDERS[SCHEME] = find_weights


@functools.cache
def _register_checkpoints() -> None:
    from mmengine.runner import checkpoint

    from .engine.checkpoints.loading import register_loaders

    # files, addresses and `wavemix_mm://<name>`, without running their code
    register_loaders(checkpoint)


@functools.cache
def _register_inferencers() -> None:
    from mmengine.infer import BaseInferencer

    from .host.inferencers import explain_inferencers, name_models

    # our models by name, and the message for weights without a config
    name_models(BaseInferencer)
    explain_inferencers(BaseInferencer)


# Submodule of mmengine -> what to register once the process has imported it.
_SUBMODULES = {"runner": _register_checkpoints, "infer": _register_inferencers}


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
