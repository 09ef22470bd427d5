"""Child registries of mmengine's roots, scope ``wavemix_mm``.

``locations`` lets mmengine import our modules by itself the first time a type with the prefix
``wavemix_mm.`` is looked up, whatever the default scope is.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

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
    locations=["wavemix_mm.engine.samplers"],
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
    locations=["wavemix_mm.engine.strategies"],
)
TRANSFORMS = Registry(
    "transform",
    parent=MMENGINE_TRANSFORMS,
    scope="wavemix_mm",
    locations=["wavemix_mm.datasets.transforms"],
)
