"""Names of our models and better messages in the inferencers of mmengine and mmpretrain."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.config import Config

from wavemix_mm.errors import UserInputError
from wavemix_mm.host.model_index import SCHEME, find_root, read_models


def explain_inferencers(base: type) -> None:
    """Let mmengine's BaseInferencer say that it needs a config if it is given weights alone.

    mmengine would say that the checkpoint holds no config. `read_checkpoint` has dropped it.
    """
    init_model = base._init_model  # type: ignore[attr-defined]

    @functools.wraps(init_model)
    def explained(self: Any, cfg: Any, weights: str | None, *args: Any, **kwargs: Any) -> Any:
        try:
            return init_model(self, cfg, weights, *args, **kwargs)
        except (AssertionError, KeyError, ValueError) as error:
            # mmengine fills an empty cfg with what it finds in the checkpoint
            if cfg or weights is None or isinstance(error, UserInputError):
                raise
            raise _needs_config(self, weights) from error

    base._init_model = explained  # type: ignore[attr-defined]


def name_models(base: type) -> None:
    """Let mmengine's BaseInferencer find our models by name, such as `DetInferencer("bccd")`.

    An inferencer looks into the index of its toolbox alone. With this it gets our model of the
    name, if the config of the model is for its toolbox, and the weights that come with the package.
    """
    load_model = base._load_model_from_metafile  # type: ignore[attr-defined]

    @functools.wraps(load_model)
    def load(self: Any, model: str) -> tuple[Any, Any]:
        known = {name.lower(): found for name, found in read_models().items()}.get(model.lower())
        root = find_root()
        if known and root:
            cfg = Config.fromfile(root / known["Config"])
            if cfg.get("default_scope") == self.scope:
                # also without published weights: the error then says so
                return cfg, SCHEME + known["Name"]
        return load_model(self, model)

    base._load_model_from_metafile = load  # type: ignore[attr-defined]


def explain_classification_inferencers(base: type) -> None:
    """Let mmpretrain's BaseInferencer say it too, which would raise an UnboundLocalError."""
    init = base.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def explained(self: Any, model: Any, pretrained: Any = True, *args: Any, **kwargs: Any) -> None:
        if model is None and isinstance(pretrained, str):
            raise _needs_config(self, pretrained)
        init(self, model, pretrained, *args, **kwargs)

    base.__init__ = explained  # type: ignore[misc]


def _needs_config(inferencer: Any, weights: str) -> UserInputError:
    return UserInputError(
        f"checkpoint {weights} was given without a config: wavemix_mm does not read configs out of "
        "checkpoints, because they are code (docs/reliability.md); name the config: "
        f"{type(inferencer).__name__}('path/to/config.py', {weights!r})."
    )
