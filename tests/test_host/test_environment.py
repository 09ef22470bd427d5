"""The findings as functions of a mapping of distributions; `test_main.py` runs the real thing."""

import shlex
import sys

import pytest

from wavemix_mm.host.environment import (
    MODULES,
    Installed,
    find_problems,
    find_stack_problems,
    find_warnings,
)
from wavemix_mm.host.requirements import FAMILIES

WITH_MMDET = [*MODULES, "mmdet"]
BASE = {
    "torch": "2.11.0",
    "torchvision": "0.26.0+cpu",
    "numpy": "2.2.6",
    "packaging": "26.0",
    "pywavelets": "1.8.0",
    "safetensors": "0.8.0",
    "typer": "0.29.2",
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


def _installed(family, modules=MODULES, without=(), **kwargs):
    versions = {name: version for name, version in (BASE | family).items() if name not in without}
    return Installed(versions=versions, modules=modules, **kwargs)


def _only(findings):
    assert len(findings) == 1, findings
    return findings[0]


def _arguments(command):
    """The arguments of one pip command."""
    python, *rest = shlex.split(command)
    assert python == sys.executable
    assert rest[:2] == ["-m", "pip"]
    return rest[2:]


@pytest.mark.parametrize("family", [ONEDL, OPENMMLAB], ids=["onedl", "openmmlab"])
def test_a_sound_stack_has_no_findings(family):
    assert find_problems(_installed(family)) == []
    mmdet = {"onedl-mmdetection": "3.5.1"} if family is ONEDL else {"mmdet": "3.3.0"}
    opencv = dict.fromkeys(("opencv-python", "opencv-python-headless"), "5.0.0.93")
    assert find_problems(_installed(family | mmdet | opencv, WITH_MMDET)) == []


BROKEN = "RuntimeError: operator torchvision::nms does not exist"
INCOMPLETE = ["mmcv>=2.1,<2.2", "mmpretrain>=1.2,<2", "setuptools<82", "ftfy", "regex"]


# What is installed, what the problem says, what pip is to install, whether nothing works.
PROBLEMS = {
    "no stack": (
        _installed({}, modules=[]),
        "no OpenMMLab packages are installed", FAMILIES["onedl"], True,
    ),
    "mmengine alone": (
        _installed({"mmengine": "0.10.7"}, modules=["mmengine", "mmseg"]),
        "mmcv, mmpretrain missing", INCOMPLETE, False,
    ),
    "all but mmengine": (
        _installed(ONEDL, modules=MODULES[1:], without=["onedl-mmengine"]),
        "mmengine missing", ["onedl-mmengine>=0.10.12"], True,
    ),
    "files removed with the other stack": (
        _installed(ONEDL, modules=["mmcv", "mmseg"]),
        "the files of onedl-mmengine, onedl-mmpretrain are gone",
        ["--force-reinstall", "--no-deps",
         "onedl-mmengine==0.10.12", "onedl-mmpretrain==1.3.6"], True,
    ),
    "mmcv that mmseg refuses": (
        _installed(OPENMMLAB | {"mmcv": "2.2.0"}),
        "mmcv 2.2.0 does not fit, >=2.1,<2.2 is needed (mmsegmentation 1.2.2 asserts",
        ["mmcv>=2.1,<2.2"], False,
    ),
    "too old": (
        _installed(ONEDL | {"onedl-mmengine": "0.10.9"}),
        "onedl-mmengine 0.10.9 does not fit", ["onedl-mmengine>=0.10.12"], False,
    ),
    "broken torch": (
        _installed(ONEDL, import_errors={"torch": BROKEN}),
        f"torch 2.11.0 cannot be imported ({BROKEN}); it may be built for another machine",
        ["--force-reinstall", "torch==2.11.0", "torchvision==0.26.0"], False,
    ),
    "broken torchvision": (
        _installed(ONEDL, import_errors={"torchvision": BROKEN}),
        f"torchvision 0.26.0+cpu cannot be imported ({BROKEN}); it may be built for another "
        "torch", ["--force-reinstall", "torch==2.11.0", "torchvision==0.26.0"], False,
    ),
    "no torch": (
        _installed(ONEDL, without=["torch"]),
        "torch is not installed", ["torch", "torchvision"], False,
    ),
    "no torchvision": (
        _installed(ONEDL, without=["torchvision"]),
        "torchvision is not installed", ["torch==2.11.0", "torchvision==0.26.*"], False,
    ),
    "setuptools too new for pytorch-wavelets": (
        _installed(ONEDL | {"pytorch-wavelets": "1.3.0", "setuptools": "82.0.0"},
                   has_pkg_resources=False),
        "setuptools 82.0.0 has no pkg_resources, which pytorch-wavelets",
        ["setuptools<82"], False,
    ),
    "no setuptools for mmengine": (
        _installed(OPENMMLAB, without=["setuptools"], has_pkg_resources=False),
        "setuptools is not installed, so no pkg_resources, which mmengine",
        ["setuptools<82"], False,
    ),
    "mmdet too old": (
        _installed(ONEDL | {"onedl-mmdetection": "3.4.0"}, modules=WITH_MMDET),
        "onedl-mmdetection 3.4.0 does not fit, >=3.5.1 is needed",
        ["onedl-mmdetection>=3.5.1"], False,
    ),
    "two releases of OpenCV": (
        _installed(ONEDL | {"opencv-python": "5.0.0.93", "opencv-python-headless": "4.12.0.88"}),
        "opencv-python 5.0.0.93 and opencv-python-headless 4.12.0.88 overwrite each other's files",
        ["opencv-python-headless==5.0.0.93"], False,
    ),
    "requirements missing": (
        _installed(ONEDL, without=["packaging", "pywavelets", "safetensors", "typer"]),
        "packaging, PyWavelets, safetensors, typer not installed",
        ["packaging", "PyWavelets", "safetensors", "typer"], False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("installed", "problem", "arguments", "blocks_import"), PROBLEMS.values(), ids=PROBLEMS
)
def test_one_problem(installed, problem, arguments, blocks_import):
    finding = _only(find_problems(installed))
    assert problem in finding.problem
    assert _arguments(finding.command) == ["install", *arguments]
    assert finding.blocks_import == blocks_import
    assert str(finding) == f"{finding.problem}; fix it with: {finding.command}"


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
    finding = _only(find_stack_problems(_installed(first | second)))
    assert finding.blocks_import
    uninstall, install = map(_arguments, finding.command.split(" && "))
    assert uninstall[:2] == ["uninstall", "-y"]
    assert set(uninstall[2:]) == {*first, *second}
    assert install == ["install", *FAMILIES["onedl"]]
    for name in (*first, *second):
        assert name in finding.problem


@pytest.mark.parametrize(
    ("stack", "mmdet", "modules"),
    [
        (ONEDL, {"mmdet": "3.3.0"}, WITH_MMDET),
        (OPENMMLAB, {"mmdet": "3.3.0", "onedl-mmdetection": "3.5.1"}, WITH_MMDET),
        (OPENMMLAB, {"mmdet": "3.3.0"}, MODULES),
    ],
    ids=["other family", "both families", "files gone"],
)
def test_mmdet_that_cannot_work(stack, mmdet, modules):
    finding = _only(find_problems(_installed(stack | mmdet, modules)))
    uninstall, install = map(_arguments, finding.command.split(" && "))
    assert uninstall == ["uninstall", "-y", *sorted(mmdet, reverse=True)]
    needed = "onedl-mmdetection>=3.5.1" if stack is ONEDL else "mmdet>=3.3,<4"
    assert install == ["install", needed] and needed in finding.problem
    assert not finding.blocks_import  # segmentation and classification go on


# Pairs that were published together.
@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [("2.0.1", "0.15.2"), ("2.1.0", "0.16.0"), ("2.6.0+cu124", "0.21.0"), ("2.11.0", "0.26.0")],
)
def test_pairs_of_torch_and_torchvision(torch, torchvision):
    versions = {"torch": torch, "torchvision": torchvision}
    assert find_problems(_installed(ONEDL | versions)) == []
    finding = _only(find_problems(_installed(ONEDL | versions | {"torchvision": "0.14.0"})))
    assert f"torch {torch} and torchvision 0.14.0 do not belong together" in finding.problem
    partner = ".".join(torchvision.split(".")[:2]) + ".*"
    assert _arguments(finding.command) == ["install", f"torch=={torch}", f"torchvision=={partner}"]


def test_nobody_needs_pkg_resources():
    assert find_problems(_installed(ONEDL, has_pkg_resources=False)) == []


@pytest.mark.parametrize("torch", ["2.10.0", "2.11.0+cpu", "3.0.0"])
def test_torch_that_reads_checkpoints_well(torch):
    assert find_warnings(_installed(ONEDL | {"torch": torch})) == []
    assert find_warnings(Installed(versions={}, modules=[])) == []


def test_torch_with_known_faults_in_reading_checkpoints():
    installed = _installed(ONEDL | {"torch": "2.9.1+cpu", "torchvision": "0.24.1"})
    finding = _only(find_warnings(installed))
    assert finding.problem.endswith(
        "2.9.1+cpu reads checkpoints with faults that 2.10 does not have"
    )
    assert _arguments(finding.command) == ["install", "--upgrade", "torch>=2.10", "torchvision"]
    assert find_problems(installed) == []  # a warning, no fault
    finding = _only(find_warnings(_installed(ONEDL | {"torch": "2.5.1"})))
    assert finding.problem.endswith("no training can be resumed with it")
