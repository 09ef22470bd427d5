"""The findings as functions of a mapping of distributions; `test_main.py` runs the real thing."""

import shlex
import sys

import pytest

from wavemix_mm.host.environment import (
    MODULES,
    STACKS,
    Installed,
    check_stack,
    find_missing_requirements,
    find_pkg_resources_problems,
    find_problems,
    find_stack_problems,
    find_torch_problems,
    find_warnings,
    look,
)

BASE = {
    "torch": "2.11.0",
    "torchvision": "0.26.0+cpu",
    "numpy": "2.2.6",
    "packaging": "26.0",
    "pywavelets": "1.8.0",
    "safetensors": "0.8.0",
    "setuptools": "81.0.0",
}
ONEDL = {
    "onedl-mmengine": "0.10.12",
    "onedl-mmcv": "2.3.6",
    "onedl-mmsegmentation": "1.4.2",
    "onedl-mmpretrain": "1.3.6",
}
OPENMMLAB = {
    "mmengine": "0.10.7",
    "mmcv": "2.1.0",
    "mmsegmentation": "1.2.2",
    "mmpretrain": "1.2.0",
}


def _installed(*families, modules=MODULES, **kwargs):
    versions = dict(BASE)
    for family in families:
        versions |= family
    return Installed(versions=versions, modules=modules, **kwargs)


def _only(findings):
    assert len(findings) == 1, findings
    return findings[0]


def _arguments(finding):
    """The arguments of the finding's one pip command."""
    python, *rest = shlex.split(finding.command)
    assert python == sys.executable
    assert rest[:2] == ["-m", "pip"]
    return rest[2:]


@pytest.mark.parametrize("family", [ONEDL, OPENMMLAB], ids=["onedl", "openmmlab"])
def test_a_sound_stack_has_no_findings(family):
    assert find_problems(_installed(family)) == []


def test_no_stack():
    finding = _only(find_stack_problems(_installed(modules=[])))
    assert finding.blocks_import
    assert finding.problem == "no OpenMMLab packages are installed"
    assert _arguments(finding) == ["install", *STACKS["onedl"].values()]
    assert str(finding) == f"{finding.problem}; mend it with: {finding.command}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (ONEDL, OPENMMLAB),
        (ONEDL, {"mmcv": "2.1.0"}),
        ({"onedl-mmengine": "0.10.12"}, {"mmsegmentation": "1.2.2"}),
        (ONEDL, {"mmcv-lite": "2.1.0"}),
    ],
    ids=["both", "one package twice", "mixed", "lite"],
)
def test_two_stacks_over_each_other(first, second):
    finding = _only(find_stack_problems(_installed(first, second)))
    assert finding.blocks_import
    uninstall, install = finding.command.split(" && ")
    assert set(shlex.split(uninstall)[5:]) == {*first, *second}
    assert shlex.split(uninstall)[3:5] == ["uninstall", "-y"]
    assert shlex.split(install)[3:] == ["install", *STACKS["onedl"].values()]
    for name in (*first, *second):
        assert name in finding.problem


def test_mmengine_without_mmcv_is_incomplete_but_importable():
    finding = _only(
        find_stack_problems(_installed({"mmengine": "0.10.7"}, modules=["mmengine", "mmseg"]))
    )
    assert not finding.blocks_import
    assert "mmcv, mmpretrain missing" in finding.problem
    wanted = ["mmcv>=2.1,<2.2", "mmpretrain>=1.2,<2", "setuptools<82", "ftfy", "regex"]
    assert _arguments(finding) == ["install", *wanted]


def test_mmcv_without_mmengine_blocks_the_import():
    finding = _only(
        find_stack_problems(
            _installed(
                {name: v for name, v in ONEDL.items() if name != "onedl-mmengine"},
                modules=["mmcv", "mmseg", "mmpretrain"],
            )
        )
    )
    assert finding.blocks_import
    assert _arguments(finding) == ["install", "onedl-mmengine>=0.10.12"]


def test_files_removed_by_the_other_stack():
    finding = _only(find_stack_problems(_installed(ONEDL, modules=["mmcv", "mmseg"])))
    assert finding.blocks_import
    assert _arguments(finding) == [
        "install",
        "--force-reinstall",
        "--no-deps",
        "onedl-mmengine==0.10.12",
        "onedl-mmpretrain==1.3.6",
    ]


def test_mmcv_that_mmseg_asserts_against():
    finding = _only(find_problems(_installed(OPENMMLAB | {"mmcv": "2.2.0"})))
    assert "mmcv 2.2.0" in finding.problem
    assert "mmsegmentation 1.2.2 asserts" in finding.problem
    assert _arguments(finding) == ["install", "mmcv>=2.1,<2.2"]


def test_package_that_is_too_old():
    finding = _only(find_problems(_installed(ONEDL | {"onedl-mmengine": "0.10.9"})))
    assert _arguments(finding) == ["install", "onedl-mmengine>=0.10.12"]


# Pairs that were published together.
@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [("2.0.1", "0.15.2"), ("2.1.0", "0.16.0"), ("2.6.0+cu124", "0.21.0"), ("2.11.0", "0.26.0")],
)
def test_pairs_of_torch_and_torchvision(torch, torchvision):
    versions = {"torch": torch, "torchvision": torchvision}
    assert find_torch_problems(_installed(ONEDL, versions)) == []
    finding = _only(find_torch_problems(_installed(ONEDL, versions | {"torchvision": "0.14.0"})))
    assert f"torch {torch} and torchvision 0.14.0" in finding.problem
    partner = ".".join(torchvision.split(".")[:2]) + ".*"
    assert _arguments(finding) == ["install", f"torch=={torch}", f"torchvision=={partner}"]


@pytest.mark.parametrize("module", ["torch", "torchvision"])
def test_torch_that_cannot_be_imported(module):
    errors = {module: "RuntimeError: operator torchvision::nms does not exist"}
    finding = _only(find_torch_problems(_installed(ONEDL, import_errors=errors)))
    assert errors[module] in finding.problem
    assert finding.problem.startswith(f"{module} {BASE[module]} cannot be imported")
    pins = ["torch==2.11.0", "torchvision==0.26.0"]
    assert _arguments(finding) == ["install", "--force-reinstall", *pins]


@pytest.mark.parametrize("missing", ["torch", "torchvision"])
def test_torch_is_missing(missing):
    versions = {name: version for name, version in BASE.items() if name != missing}
    finding = _only(find_torch_problems(Installed(versions, MODULES)))
    assert finding.problem == f"{missing} is not installed"
    assert any(argument.startswith("torchvision") for argument in _arguments(finding))


def test_pkg_resources():
    user = {"pytorch-wavelets": "1.3.0", "setuptools": "82.0.0"}
    installed = _installed(ONEDL, user, has_pkg_resources=False)
    finding = _only(find_problems(installed))
    assert "setuptools 82.0.0" in finding.problem
    assert "pytorch-wavelets" in finding.problem
    assert _arguments(finding) == ["install", "setuptools<82"]
    # Nobody needs it here; there, mmengine does.
    assert find_problems(_installed(ONEDL, has_pkg_resources=False)) == []
    finding = _only(find_pkg_resources_problems(_installed(OPENMMLAB, has_pkg_resources=False)))
    assert "mmengine" in finding.problem


def test_missing_requirements_are_one_finding():
    finding = _only(find_missing_requirements(Installed({"numpy": "2.0"}, MODULES)))
    assert _arguments(finding) == ["install", "packaging", "PyWavelets", "safetensors"]


def test_look_sees_this_environment():
    installed = look(["torch", "pytest"])
    assert set(installed.modules) == set(MODULES)
    assert installed.versions["pytest"] == pytest.__version__
    assert "packaging" in installed.versions
    check_stack()


@pytest.mark.parametrize("torch", ["2.10.0", "2.11.0+cpu", "3.0.0"])
def test_torch_that_reads_checkpoints_well(torch):
    assert find_warnings(_installed(ONEDL, {"torch": torch})) == []
    assert find_warnings(Installed(versions={}, modules=[])) == []


def test_torch_with_known_faults_in_reading_checkpoints():
    installed = _installed(ONEDL, {"torch": "2.9.1+cpu", "torchvision": "0.24.1"})
    finding = _only(find_warnings(installed))
    assert "torch 2.9.1+cpu reads checkpoints with faults that 2.10 does not" in finding.problem
    assert "resumed" not in finding.problem
    assert _arguments(finding) == ["install", "--upgrade", "torch>=2.10", "torchvision"]
    assert find_problems(installed) == []  # a warning, no fault
    finding = _only(find_warnings(_installed(ONEDL, {"torch": "2.5.1"})))
    assert finding.problem.endswith("no training can be resumed with it")
