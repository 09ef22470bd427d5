"""Packaging of wavemix_mm: metadata, extras and the `.mim` folder that mim and mmengine read."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = "wavemix_mm"
MIM_ENTRIES = ("configs", "tools", "model-index.yml")

# pytorch-wavelets imports pkg_resources, which setuptools 82 dropped.
WAVELETS = ["pytorch-wavelets>=1.3.0", "setuptools<82"]
AUTHORS = ["wavemix==0.2.4", "einops"]
# SVHN and Galaxy10 DECaLS are read with these.
DATASETS = ["scipy", "h5py"]
# torch.onnx.export needs the first two; the others run its graphs.
EXPORT = ["onnx", "onnxscript", "onnxruntime", "openvino>=2025.0"]
# The web page.
SERVE = ["gradio>=6.0,<7"]
# wavemix_mm.timm, and tools on timm's encoders.
TIMM = ["timm>=1.0.20"]
# `make docs`, and the tutorial in the tests.
DOCS = ["mkdocs-material>=9.6", "mkdocstrings[python]", "mkdocs-jupyter", "nbclient", "ipykernel"]
# Where `--log` of tools/train.py writes.
LOGGING = ["tensorboard", "wandb", "mlflow"]
# The doctor reads the same lists.
LISTS = runpy.run_path(str(ROOT / PACKAGE / "host" / "requirements.py"))
EXTRAS = {
    "onedl": LISTS["FAMILIES"]["onedl"],
    "openmmlab": LISTS["FAMILIES"]["openmmlab"],
    # detection, each beside the family's own extra
    "det": [LISTS["DETECTION"]["onedl"]],
    "openmmlab-det": [LISTS["DETECTION"]["openmmlab"]],
    "wavelets": WAVELETS,
    "datasets": DATASETS,
    "export": EXPORT,
    "timm": TIMM,
    "docs": DOCS,
    "serve": SERVE,
    "logging": LOGGING,
    # setuptools 70.1 is the first that builds wheels without the package `wheel`.
    "test": [
        *WAVELETS,
        "setuptools>=70.1",
        "pytest",
        "pytest-xdist",
        "hypothesis",
        "lmdb",
        *AUTHORS,
        *DATASETS,
        *EXPORT,
        *TIMM,
        *DOCS,
        "segmentation-models-pytorch>=0.5",
        *SERVE,
        "playwright",
        # polygons of COCO become masks as docs/own-data.md says
        "pycocotools",
        # class activation maps as docs/analysis.md shows them
        "grad-cam>=1.5.5",
        "tensorboard",
        # images of more than four channels as docs/own-data.md reads them
        "tifffile",
    ],
    # tools/analysis_tools/benchmark.py and benchmark_dwt.py compare with these.
    "benchmark": [*WAVELETS, *AUTHORS, *TIMM, "ptwt"],
    "dev": ["ruff", "codespell", "mypy", "pre-commit"],
}


class BuildPyWithMim(build_py):
    """Put `configs/`, `tools/` and `model-index.yml` into `wavemix_mm/.mim`.

    Every installation runs build_py: a wheel, a wheel from an sdist (MANIFEST.in puts the three
    entries into it), and an editable install, for which setuptools sets `editable_mode`.
    """

    def run(self) -> None:
        """Build the package, then fill `.mim` from scratch."""
        if self.editable_mode:
            super().run()
            self.fill_mim(ROOT / PACKAGE / ".mim", link=True)
            return
        # The wheel would also get what an earlier build left in build/lib.
        package = Path(self.build_lib) / PACKAGE
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        self.fill_mim(package / ".mim", link=False)

    def fill_mim(self, target: Path, link: bool) -> None:
        """Replace `target` by links to, or copies of, the entries of the source tree."""
        shutil.rmtree(target, ignore_errors=True)  # it follows no links
        target.mkdir(parents=True)
        for name in MIM_ENTRIES:
            source = ROOT / name
            if not source.exists():
                raise FileNotFoundError(f"{source} is missing, so that .mim cannot be built")
            if link:
                try:
                    (target / name).symlink_to(Path("..", "..", name), source.is_dir())
                    continue
                except OSError:
                    # Windows without the right to make links, or a file system without them.
                    pass
            if source.is_dir():
                caches = shutil.ignore_patterns("__pycache__", "*.py[cod]")
                shutil.copytree(source, target / name, ignore=caches)
            else:
                shutil.copy2(source, target / name)


setup(
    name=PACKAGE,
    version=runpy.run_path(str(ROOT / PACKAGE / "version.py"))["__version__"],
    description="WaveMix, the wavelet token-mixing network, for OpenMMLab",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="computer vision, semantic segmentation, image classification, object detection, "
    "wavelet, OpenMMLab",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=[f"{PACKAGE}*"]),
    include_package_data=True,
    package_data={PACKAGE: ["py.typed", "web/examples/*"]},
    entry_points={"console_scripts": [f"wavemix-mm = {PACKAGE}.__main__:main"]},
    python_requires=">=3.10",
    install_requires=LISTS["REQUIRED"],
    extras_require=EXTRAS,
    cmdclass={"build_py": BuildPyWithMim},
    zip_safe=False,
)
