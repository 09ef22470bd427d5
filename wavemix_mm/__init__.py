"""WaveMix, the wavelet token-mixing network, as a plugin for OpenMMLab.

Importing this package checks that a usable OpenMMLab stack is installed, makes
`_base_ = 'wavemix_mm::wavemix/<config>.py'` known to mmengine, has mmengine read checkpoints,
safetensors among them, without running code that they hold, and puts the classification models into
mmpretrain's list once that is imported. Models register themselves when a config names one
(`wavemix_mm/registry.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .official import convert_official

__all__ = ["__version__", "connect", "convert_official"]


def connect() -> None:
    """Connect the plugin to mmengine; importing `wavemix_mm` does it, once more does no harm.

    README lists what that changes for other programs of the process.

    Raises:
        ImportError: no OpenMMLab stack is installed, or two are mixed. The message is the
            one that `python -m wavemix_mm doctor` prints, with the command that mends it.
    """
    from .host.environment import check_stack

    check_stack()

    # mmengine knows the packages in this map only: `mmengine.hub.get_config('wavemix_mm::...')`
    # looks here. Other modules import the same dict object, so that it is changed, never replaced.
    from mmengine.config.utils import MODULE2PACKAGE

    from .engine.checkpoints.loading import register_finder, register_loaders
    from .host.bases import read_own_bases
    from .host.inferencers import explain_inferencers
    from .host.model_index import SCHEME, find_weights, register_models
    from .when_imported import when_imported

    # A module in place of the distribution's name: both versions of mmengine then take the folder
    # of that module, where 0.10.7 looks for an editable install beside its metadata, in vain.
    MODULE2PACKAGE.setdefault("wavemix_mm", "wavemix_mm.version")
    read_own_bases()
    register_finder(SCHEME, find_weights)
    when_imported("mmengine.runner.checkpoint", register_loaders)
    when_imported("mmengine.infer.infer", explain_inferencers)
    when_imported("mmpretrain.apis.model", register_models)


def __getattr__(name: str) -> Any:
    # Lazy, since the converter needs the model code, which `import wavemix_mm` need not load.
    if name == "convert_official":
        from .official import convert_official

        return convert_official
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _is_run_as_module() -> bool:
    """Whether this import happens for `python -m wavemix_mm`.

    Python then imports the package before `__main__`, and `doctor` must work exactly where the
    check in `connect` fails, so that `__main__` connects for the verbs that need it. Python
    documents that argv[0] is "-m" while it locates the module; the original argument in that
    place is the module's name ("-mNAME" where the two were written together).
    """
    if sys.argv[:1] != ["-m"]:
        return False
    return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == __name__


if not _is_run_as_module():
    connect()
