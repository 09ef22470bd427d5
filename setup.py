"""Packaging of wavemix_mm: metadata, extras and the `.mim` folder that mim and mmengine read."""

from __future__ import annotations

import ast
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
# What two data sets of the classification configs are read with: SVHN and Galaxy10 DECals.
DATASETS = ["scipy", "h5py"]
# What torch.onnx.export needs, and what its graphs are run by.
EXPORT = ["onnx", "onnxscript", "onnxruntime"]
EXTRAS = {
    # No OpenMMLab package is a hard requirement: the two families below install the same
    # modules and would overwrite each other's files. `wavemix_mm/host/environment.py` repeats both
    # lists for the commands that it proposes; tests/test_packaging.py keeps them equal.
    "onedl": [
        "onedl-mmengine>=0.10.12",
        "onedl-mmcv>=2.3.6",
        "onedl-mmsegmentation>=1.4.2",
        "onedl-mmpretrain>=1.3.6",
    ],
    "openmmlab": [
        "mmengine>=0.10.7,<1",
        "mmcv>=2.1,<2.2",
        "mmsegmentation>=1.2.2,<2",
        "mmpretrain>=1.2,<2",
        "setuptools<82",
        "ftfy",
        "regex",
    ],
    "wavelets": WAVELETS,
    "datasets": DATASETS,
    "export": EXPORT,
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
    ],
    # What tools/analysis_tools/benchmark.py and benchmark_dwt.py compare with.
    "benchmark": [*WAVELETS, *AUTHORS, "ptwt", "timm"],
    "dev": ["ruff", "codespell", "mypy", "pre-commit"],
}


def read_version() -> str:
    """Return the version in `wavemix_mm/version.py` without running that file."""
    module = ast.parse((ROOT / PACKAGE / "version.py").read_text(encoding="utf-8"))
    for node in module.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__":
            return ast.literal_eval(node.value)
    raise RuntimeError("wavemix_mm/version.py assigns no __version__")


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder without the caches of Python."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
    else:
        shutil.copy2(source, target)


class BuildPyWithMim(build_py):
    """Put `configs/`, `tools/` and `model-index.yml` into `wavemix_mm/.mim`.

    Every way of installing goes through build_py: a wheel, the wheel built from an sdist (which
    holds the three through MANIFEST.in), and an editable install, where setuptools runs this
    command with `editable_mode` set.
    """

    def run(self) -> None:
        """Build the package, then fill `.mim` from scratch."""
        if self.editable_mode:
            super().run()
            self.fill_mim(ROOT / PACKAGE / ".mim", link=True)
            return
        # What an earlier build left in build/lib would get into the wheel as well.
        package = Path(self.build_lib) / PACKAGE
        remove(package)
        super().run()
        self.fill_mim(package / ".mim", link=False)

    def fill_mim(self, target: Path, link: bool) -> None:
        """Replace `target` by links to, or copies of, the entries of the source tree."""
        remove(target)
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
            copy(source, target / name)


setup(
    name=PACKAGE,
    version=read_version(),
    description="WaveMix, the wavelet token-mixing network, for OpenMMLab",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="computer vision, semantic segmentation, image classification, wavelet, OpenMMLab",
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
    python_requires=">=3.10",
    install_requires=["torch", "torchvision", "numpy", "packaging", "PyWavelets", "safetensors"],
    extras_require=EXTRAS,
    cmdclass={"build_py": BuildPyWithMim},
    zip_safe=False,
)
