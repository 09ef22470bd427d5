"""The arguments ``NAME|CONFIG [CKPT]``, which name a model on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wavemix_mm.errors import UserInputError

_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def split_model(words: Sequence[str]) -> tuple[str, str, list[str]]:
    """Split ``NAME|CONFIG [CKPT] OTHER...``.

    The second word is the checkpoint if it is an address or has the suffix of a checkpoint.
    Otherwise the weights that come with the package are used.

    Returns:
        Path of the config; checkpoint for `wavemix_mm.apis.init_model`; the other words.

    Raises:
        UserInputError: If there is no such model, or no checkpoint is given and none comes with
            the package.
    """
    from wavemix_mm.host.named_models import find_model

    name, *others = words
    config, weights = find_model(name)
    if others and ("://" in others[0] or Path(others[0]).suffix in _SUFFIXES):
        return config, others[0], others[1:]
    if weights is None:
        raise UserInputError(
            f"no weights of {name} come with wavemix_mm (`wavemix-mm models` lists those that do); "
            "name a checkpoint after it, e.g. work_dirs/NAME/epoch_1.pth."
        )
    return config, weights, others


def complete_model(incomplete: str) -> list[str]:
    """Return the names of models that begin with some letters, for the shell."""
    from wavemix_mm.host.model_index import read_models

    return [name for name in read_models() if name.startswith(incomplete)]
