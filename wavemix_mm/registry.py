"""Child registries of mmengine's roots, scope ``wavemix_mm``.

``locations`` lets mmengine import our modules by itself the first time a type with the prefix
``wavemix_mm.`` is looked up, whatever the default scope is.
"""

from __future__ import annotations

from collections.abc import Mapping

import mmengine.runner  # noqa: F401  (imports torch, which our types need anyway)
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from wavemix_mm import connect

# The program uses one of our types: register what `import wavemix_mm` left out without torch.
connect(imported_only=True)

METRICS = Registry(
    "metric", parent=MMENGINE_METRICS, scope="wavemix_mm", locations=["wavemix_mm.evaluation"]
)
MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope="wavemix_mm",
    locations=[
        "wavemix_mm.models.layers",
        "wavemix_mm.models.backbones",
        "wavemix_mm.models.necks",
        "wavemix_mm.models.decode_heads",
        "wavemix_mm.models.losses",
    ],
)
DATASETS = Registry(
    "dataset", parent=MMENGINE_DATASETS, scope="wavemix_mm", locations=["wavemix_mm.datasets"]
)
DATA_SAMPLERS = Registry(
    "data sampler",
    parent=MMENGINE_DATA_SAMPLERS,
    scope="wavemix_mm",
    locations=["wavemix_mm.engine.exact.samplers"],
)
HOOKS = Registry(
    "hook", parent=MMENGINE_HOOKS, scope="wavemix_mm", locations=["wavemix_mm.engine.hooks"]
)
OPTIM_WRAPPERS = Registry(
    "optimizer wrapper",
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope="wavemix_mm",
    locations=["wavemix_mm.engine.optim_wrappers"],
)
STRATEGIES = Registry(
    "strategy",
    parent=MMENGINE_STRATEGIES,
    scope="wavemix_mm",
    locations=["wavemix_mm.engine.parallel.strategies"],
)
TRANSFORMS = Registry(
    "transform",
    parent=MMENGINE_TRANSFORMS,
    scope="wavemix_mm",
    locations=["wavemix_mm.datasets.transforms"],
)


def type_name(node: Mapping) -> str | None:
    """Return the name of the class that a dict of a config names, None if it names none.

    A config names a class by its name, with a scope, by its full path, or as the class itself.
    """
    kind = node.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", None)


def named_class(node: Mapping, registry: Registry) -> type | None:
    """Return the class that a dict of a config names, None if there is none.

    Args:
        node: A dict of a config.
        registry: One of mmengine's root registries. A name without a scope is looked up in the
            default scope.
    """
    kind = node.get("type")
    if not isinstance(kind, str):
        return kind if isinstance(kind, type) else None
    with registry.switch_scope_and_registry(None) as current:
        found = current.get(kind)
    return found if isinstance(found, type) else None
