"""Hook of MkDocs: collect the pages of the site, and write the model zoo.

The pages keep their places in the repository, so that their links to each other, to configs and to
sources hold on the site too.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("configs", "docs", "tests", "tools", "wavemix_mm")
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "setup.py",
         "model-index.yml", "pyproject.toml")  # fmt: skip
# Files in the folders that pages show or link to.
SUFFIXES = {".md", ".ipynb", ".png", ".jpg", ".svg", ".py", ".sh", ".csv", ".yml", ".txt",
            ".safetensors"}  # fmt: skip
ZOO = """# Model zoo

*published*: accuracy in the paper. *converted*: the authors' weights, evaluated here. Other models
were trained and evaluated here. Multiply-adds are for one image at the config's size. Load weights
by `wavemix_mm://<name>`.
"""
HEAD = """| model | data | parameters, M | multiply-adds, G | accuracy | weights |
|---|---|---:|---:|---|---|
"""


def on_config(config: Any) -> Any:
    """Let MkDocs read a folder with copies of the pages and of the files that they link to."""
    staging = Path(tempfile.mkdtemp(prefix="wavemix_mm_site_"))
    atexit.register(shutil.rmtree, staging, ignore_errors=True)
    for name in FILES:
        shutil.copy(ROOT / name, staging)
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            if path.suffix in SUFFIXES and not {".mim", "__pycache__"} & set(inside.parts):
                (staging / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, staging / inside)
    metafiles = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    models = [m for file in metafiles for m in yaml.safe_load((ROOT / file).read_text())["Models"]]
    (staging / "model-zoo.md").write_text(make_zoo(models), encoding="utf-8")
    config.docs_dir = str(staging)
    return config


def make_zoo(models: list[dict[str, Any]]) -> str:
    """Return the model zoo as Markdown.

    Args:
        models: `Models` of the metafiles.
    """
    tables: dict[str, list[str]] = {}
    for model in models:
        result, costs = model["Results"][0], model["Metadata"]
        figures = ", ".join(f"{key} {value}" for key, value in result["Metrics"].items())
        weights = f"[in the package]({model['Weights']})" if model.get("Weights") else ""
        tables.setdefault(result["Task"], []).append(
            f"| [{model['Name']}]({model['Config']}) | {result['Dataset']} "
            f"| {costs['Parameters'] / 1e6:.3g} | {costs['FLOPs'] / 1e9:.3g} "
            f"| {figures} | {weights} |\n"
        )
    return ZOO + "".join(f"\n## {task}\n\n{HEAD}{''.join(rows)}" for task, rows in tables.items())
