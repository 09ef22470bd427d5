"""`python -m wavemix_mm` and `import wavemix_mm` as processes, in sound and broken environments."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import wavemix_mm
from wavemix_mm.host.environment import MODULES
from wavemix_mm.host.requirements import FAMILIES

ROOT = Path(wavemix_mm.__file__).parents[1]


def _run(*arguments, path=(), cwd=None):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def _pretend(folder, distribution, version, module=None, code=""):
    """Put a distribution's metadata, and a module where one is named, into a folder."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (info / "top_level.txt").write_text(f"{module or ''}\n")
    if module:
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(code)


def _errors(process):
    return re.findall(r"^error: (.*)$", process.stderr, flags=re.MULTILINE)


def test_doctor_finds_nothing_here(tmp_path):
    process = _run("-m", "wavemix_mm", "doctor", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    shown = dict(line.split(maxsplit=1) for line in process.stdout.splitlines())
    assert shown["wavemix_mm"] == wavemix_mm.__version__
    for label in ("python", "torch", "torchvision", "numpy", "PyWavelets", "setuptools"):
        assert shown[label][0].isdigit(), label
    for module in MODULES:
        assert re.fullmatch(r"[\d.]+ from \S+", shown[module]), shown[module]
    assert re.search(r"^mmcv's operators +(not )?compiled", process.stdout, flags=re.MULTILINE)
    assert "accelerator" in shown
    assert process.stdout.splitlines()[-1] == "no problem found"


# -S leaves out site-packages: Python with its standard library alone.
def test_doctor_without_any_package(tmp_path):
    process = _run("-S", "-m", "wavemix_mm", "doctor", cwd=tmp_path)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    stack, torch, requirements = _errors(process)
    assert stack.startswith("no OpenMMLab packages are installed; fix it with: ")
    for requirement in FAMILIES["onedl"]:
        assert f"'{requirement}'" in stack
    assert torch.startswith("torch is not installed")
    assert requirements.startswith("numpy, packaging, PyWavelets, safetensors, typer not installed")


def test_import_without_mmengine_warns_with_the_message_of_the_doctor(tmp_path):
    process = _run("-S", "-c", "import wavemix_mm; print('on'); wavemix_mm.connect()", cwd=tmp_path)
    message = _errors(_run("-S", "-m", "wavemix_mm", "doctor", cwd=tmp_path))[0]
    assert process.stdout == "on\n"
    assert f"UserWarning: {message}\n" in process.stderr
    assert process.stderr.splitlines()[-1] == f"ImportError: {message}"


def test_both_stacks_and_an_unfit_torchvision(tmp_path):
    # In either stack's environment one of the two is the other stack's.
    _pretend(tmp_path, "onedl-mmengine", "0.10.12")
    _pretend(tmp_path, "mmengine", "0.10.7")
    _pretend(tmp_path, "torchvision", "0.14.0")
    process = _run("-m", "wavemix_mm", "doctor", path=[tmp_path])
    stack, torch, *others = _errors(process)
    assert process.returncode == 1
    assert "two OpenMMLab stacks" in stack
    assert "torchvision 0.14.0 do not belong together" in torch
    # OpenMMLab's mmdet is here beside the other stack's mmengine, if it is installed
    expected = metadata.packages_distributions().get("mmdet", []).count("mmdet")
    assert [("mmdet" in error) for error in others] == [True] * expected
    for code in ("import wavemix_mm.registry", "import wavemix_mm; wavemix_mm.connect()"):
        imported = _run("-c", code, path=[tmp_path])
        assert imported.stderr.splitlines()[-1] == f"ImportError: {stack}"


def test_pytorch_wavelets_without_pkg_resources(tmp_path):
    _pretend(tmp_path, "pytorch-wavelets", "1.3.0", "pytorch_wavelets")
    _pretend(tmp_path, "setuptools", "82.0.0", "setuptools")
    process = _run("-S", "-m", "wavemix_mm", "doctor", path=[tmp_path])
    assert process.returncode == 1
    assert any(
        error.startswith("setuptools 82.0.0 has no pkg_resources")
        and error.endswith("pip install 'setuptools<82'")
        for error in _errors(process)
    )


def test_unknown_verb_and_help(tmp_path):
    assert _run("-S", "-m", "wavemix_mm", "heal", cwd=tmp_path).returncode == 2
    assert _run("-S", "-m", "wavemix_mm", cwd=tmp_path).returncode == 2
    process = _run("-S", "-m", "wavemix_mm", "--help", cwd=tmp_path)
    assert process.returncode == 0
    assert "doctor" in process.stdout
