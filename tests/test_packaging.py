"""A wheel, an sdist and an editable install, made by pip from a copy of the source tree."""

import email
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import wavemix_mm
from wavemix_mm.host.requirements import DETECTION, FAMILIES

ROOT = Path(__file__).parents[1]
MIM_ENTRIES = ["configs", "tools", "model-index.yml"]
BUILD_FILES = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"]
CONFIG = "configs/wavemix/cityscapes.py"


def _run(*arguments, cwd):
    process = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def _pip(*arguments, cwd):
    # No isolation and no index: nothing is downloaded.
    options = ["--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    _run("-m", "pip", arguments[0], *options, *arguments[1:], cwd=cwd)


def _files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the source tree, so that building cannot dirty the real one."""
    folder = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__", ".mim")
    for name in [*BUILD_FILES, *MIM_ENTRIES, "wavemix_mm", "tests", "requirements"]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def expected(source):
    """The files that `.mim` must hold, no more and no fewer."""
    files = {"model-index.yml"}
    for name in ("configs", "tools"):
        files |= {f"{name}/{file}" for file in _files(source / name)}
    assert CONFIG in files
    assert "tools/train.py" in files
    return files


@pytest.fixture(scope="module")
def editable(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("editable")
    _pip("install", "--target", target, "-e", source, cwd=target)
    return target


# Built after the editable install, whose `.mim` lies in the source tree and must not leak.
@pytest.fixture(scope="module", params=["wheel", "wheel from sdist"])
def wheel(request, source, editable, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    origin = source
    if request.param == "wheel":
        # As an earlier build leaves them.
        for stale in ("stale.py", ".mim/configs/stale.py"):
            path = source / "build" / "lib" / "wavemix_mm" / stale
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    else:
        build = f"import setuptools.build_meta as backend; backend.build_sdist({str(folder)!r})"
        _run("-c", build, cwd=source)
        (origin,) = folder.glob("*.tar.gz")
    _pip("wheel", "--wheel-dir", folder, origin, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    _pip("install", "--no-compile", "--target", target, wheel, cwd=target)
    return target


def test_wheel_holds_mim_and_nothing_stale(installed, expected, source):
    assert _files(installed / "wavemix_mm" / ".mim") == expected
    for file in expected:
        assert (installed / "wavemix_mm" / ".mim" / file).read_bytes() == (
            source / file
        ).read_bytes()
    modules = {file for file in _files(installed / "wavemix_mm") if not file.startswith(".mim/")}
    assert modules == {f for f in _files(source / "wavemix_mm") if not f.startswith(".mim/")}


def test_wheel_leaks_no_other_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"wavemix_mm-{wavemix_mm.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"wavemix_mm", info}
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in names)


def _resolve(site, folder):
    """Load a config whose base is ours; return the package's file and the model's type."""
    config = folder / "config.py"
    config.write_text("_base_ = 'wavemix_mm::wavemix/cityscapes.py'\n")
    code = (
        "import site, sys\n"
        "site.addsitedir(sys.argv[1])\n"
        "sys.path += sys.argv[3:]\n"
        "import wavemix_mm\n"
        "from mmengine.config import Config\n"
        "print(wavemix_mm.__file__)\n"
        "print(Config.fromfile(sys.argv[2]).model.backbone.type)\n"
    )
    # -S -E and this path: the package that these tests run with must not be found in place of
    # the one under test, not even by the hook of an editable install.
    path = [entry for entry in sys.path if entry and not Path(entry, "wavemix_mm").is_dir()]
    return _run("-B", "-S", "-E", "-c", code, site, config, *path, cwd=folder).splitlines()[-2:]


def test_config_is_a_base_for_other_repositories(installed, editable, source, tmp_path):
    for site, folder in ((installed, installed), (editable, source)):
        module = folder / "wavemix_mm" / "__init__.py"
        assert _resolve(site, tmp_path) == [str(module), "wavemix_mm.WaveMix"]


def test_metadata(installed):
    (path,) = installed.glob("*.dist-info/METADATA")
    metadata = email.message_from_string(path.read_text(encoding="utf-8"))
    assert metadata["Name"] == "wavemix_mm"
    assert metadata["Version"] == wavemix_mm.__version__
    assert metadata["Requires-Python"] == ">=3.10"

    by_extra = {}
    for line in metadata.get_all("Requires-Dist"):
        requirement = Requirement(line)
        for extra in ["", *metadata.get_all("Provides-Extra")]:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                by_extra.setdefault(extra, set()).add(
                    (requirement.name, str(requirement.specifier))
                )
    required = by_extra.pop("")
    names = "torch torchvision numpy packaging PyWavelets safetensors typer"
    assert {name for name, _ in required} == set(names.split())
    detection = {"det": [DETECTION["onedl"]], "openmmlab-det": [DETECTION["openmmlab"]]}
    for family, lines in (FAMILIES | detection).items():
        listed = {Requirement(line) for line in lines}
        assert by_extra[family] - required == {(r.name, str(r.specifier)) for r in listed}
    assert {"wavelets", "logging", "test", "dev"} <= set(by_extra)
    assert "wavemix-mm = wavemix_mm.__main__:main" in path.with_name("entry_points.txt").read_text()


def test_editable_install_gives_a_live_mim(editable, source, expected):
    mim = source / "wavemix_mm" / ".mim"
    assert expected <= {
        f"{name}/{file}" for name in ("configs", "tools") for file in _files(mim / name)
    } | {path.name for path in mim.iterdir()}

    added = source / "configs" / "wavemix" / "added_later.py"
    added.touch()
    assert (mim / added.relative_to(source)).is_file()
    added.unlink()


def test_missing_folder_fails_the_build(source, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("build", ".mim", "*.egg-info"))
    shutil.rmtree(folder / "configs")
    process = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_py"], cwd=folder, capture_output=True, text=True
    )
    assert process.returncode != 0
    assert "configs is missing, so that .mim cannot be built" in process.stderr
