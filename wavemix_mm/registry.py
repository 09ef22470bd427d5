"""Child registries of mmengine's roots, scope ``wavemix_mm``.

mmengine imports the ``locations`` of a registry when it first looks up a type with the prefix
``wavemix_mm.``, in any default scope.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmengine import registry as roots
from mmengine.registry import Registry

from wavemix_mm import connect

# The program uses one of our types: raise if the OpenMMLab packages do not fit together.
connect(imported_only=True)


def _child(parent: Registry, *locations: str) -> Registry:
    modules = [f"wavemix_mm.{location}" for location in locations]
    return Registry(parent.name, parent=parent, scope="wavemix_mm", locations=modules)


MODELS = _child(
    roots.MODELS,
    "models.layers",
    "models.backbones",
    "models.necks",
    "models.decode_heads",
    "models.losses",
)
DATASETS = _child(roots.DATASETS, "datasets")
TRANSFORMS = _child(roots.TRANSFORMS, "datasets.transforms")
DATA_SAMPLERS = _child(roots.DATA_SAMPLERS, "engine.exact.samplers")
HOOKS = _child(roots.HOOKS, "engine.hooks", "models.fast.compiled_training")
OPTIM_WRAPPERS = _child(roots.OPTIM_WRAPPERS, "engine.optim_wrappers")
STRATEGIES = _child(roots.STRATEGIES, "engine.parallel.strategies")
METRICS = _child(roots.METRICS, "evaluation")


def type_name(node: Mapping) -> str | None:
    """Return the name of the class in `type` of a config's dict, without scope and module.

    `type` may be a name, with or without scope, a full path, or the class itself. The result is
    None if there is no type.
    """
    kind = node.get("type")
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", None)


def named_class(node: Mapping, registry: Registry) -> type | None:
    """Return the class that `type` of a config's dict stands for, or None.

    Args:
        node: A dict of a config.
        registry: One of mmengine's root registries, which looks up a name. A name without a scope
            is looked up in the default scope.
    """
    kind = node.get("type")
    if not isinstance(kind, str):
        return kind if isinstance(kind, type) else None
    with registry.switch_scope_and_registry(None) as current:
        found = current.get(kind)
    return found if isinstance(found, type) else None
