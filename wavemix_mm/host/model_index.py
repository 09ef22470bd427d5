"""The models of model-index.yml: their names in the toolboxes, and their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from wavemix_mm.errors import UserInputError

# As a checkpoint, `wavemix_mm://<name>` stands for the weights that come with the package.
SCHEME = "wavemix_mm://"
# A second name in the hub has this prefix, so that patterns find our models.
HUB_PREFIX = "wavemix/"
INDEX = "model-index.yml"


def find_root() -> Path | None:
    """Return the folder that holds `configs/` and `model-index.yml`: `.mim`, or the clone.

    None means that the package was copied without them.
    """
    package = Path(__file__).resolve().parents[1]
    roots = (package / ".mim", package.parent)
    return next(
        (root for root in roots if (root / INDEX).is_file() and (root / "configs").is_dir()), None
    )


def read_models() -> dict[str, dict[str, Any]]:
    """Return the models of the metafiles by name; none if the package has no configs."""
    root = find_root()
    files = load(root / INDEX)["Import"] if root else []
    return {m["Name"]: m for file in files for m in load(root / file)["Models"]}


def register_models(hub: Any) -> None:
    """Add the classification models to mmpretrain's ModelHub, `hub`.

    Each model gets two names: the name of its config, and the same after `wavemix/`. Names that
    another package has taken stay as they are. mmpretrain reads a config and its weights when a
    program asks for them. The error for a model of another task says how to build it.

    `ModelHub.register_model_index` would not serve: it knows one name a model, fails at a name that
    is taken, lists models of other tasks too, and builds a model without weights at random.
    """
    from modelindex.load_model_index import load as load_index

    root = find_root()
    if root is None:
        return
    index = load_index(str(root / INDEX))
    index.build_models_with_collections()
    models = hub._models_dict
    others: dict[str, Any] = {}
    for model in index.models:
        names = [name.lower() for name in (model.name, HUB_PREFIX + model.name)]
        if "Image Classification" not in [result.task for result in model.results]:
            others |= dict.fromkeys(names, model)
            continue
        model.config = str(root / model.config)
        # Also without published weights: the error then says so.
        model.weights = SCHEME + model.name
        for name in names:
            models.setdefault(name, model)
    get_of_host = hub.get

    def get(model_name: str) -> Any:
        other = others.get(model_name.lower())
        if other is None or model_name.lower() in models:
            return get_of_host(model_name)
        weights = f'"{SCHEME}{other.name}"' if other.weights else "CHECKPOINT"
        kind = "segmentation" if "Segmentation" in other.results[0].task else "detection"
        raise UserInputError(
            f"{model_name} is a {kind} model, which mmpretrain cannot build; use "
            f'wavemix_mm.apis.init_model("{root / other.config}", {weights}).'
        )

    hub.get = staticmethod(get)


def find_weights(name: str) -> Path:
    """Return the file of the weights that come with the package for a model.

    Args:
        name: The name of the model's config, e.g. 'mnist_8-10'.

    Raises:
        UserInputError: If there is no such model, if no weights come with it, or if the file's
            SHA-256 differs from the one in metafile.yml.
    """
    root = find_root()
    if root is None:
        raise UserInputError(f"{SCHEME}{name}: this wavemix_mm was installed without its configs.")
    models = read_models()
    if name not in models:
        raise UserInputError(f"{SCHEME}{name}: there is no model of this name.")
    if not models[name].get("Weights"):
        task = _task(models[name])
        shipped = [key for key, m in models.items() if m.get("Weights") and _task(m) == task]
        raise UserInputError(
            f"no weights of {name} come with wavemix_mm (only of: "
            f"{', '.join(shipped) or 'no model yet'}); name a checkpoint in place of "
            "pretrained=True, or pretrained=False for random weights."
        )
    file = root / models[name]["Weights"]
    if not file.is_file():
        raise UserInputError(f"weights {file} are missing: install wavemix_mm once more.")
    if hashlib.sha256(file.read_bytes()).hexdigest() != models[name].get("SHA256"):
        raise UserInputError(
            f"weights {file} are not those that were published: their SHA-256 differs from the one "
            "in the metafile of its folder."
        )
    return file


def _task(model: dict[str, Any]) -> str:
    return model["Results"][0]["Task"]
