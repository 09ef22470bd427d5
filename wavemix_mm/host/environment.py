"""Find what does not fit together in an environment, and the pip command that fixes it.

The findings depend on an `Installed` alone, so that tests need not install anything. This file
imports the standard library alone, because it must work where nothing else does.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from wavemix_mm.errors import UserInputError
from wavemix_mm.host.requirements import DETECTION, FAMILIES, REQUIRED, STACKS, UNDECLARED

MODULES = tuple(STACKS["onedl"])
# Older releases read checkpoints with known faults that run code or damage memory:
# CVE-2025-32434 (fixed in 2.6) and CVE-2026-24747 (fixed in 2.10).
SAFE_TORCH = (2, 10)
# Two distributions of the same files. onedl-mmdetection brings the second beside the first.
_OPENCV = ("opencv-python", "opencv-python-headless")


def _name(requirement: str) -> str:
    """Return a requirement's distribution, written as `Installed` writes it."""
    return re.split(r"[<>=]", requirement, maxsplit=1)[0].lower()


# Distribution -> (family, module).
_OWNERS = {
    _name(requirement): (family, module)
    for family, stack in STACKS.items()
    for module, requirement in stack.items()
} | {
    "mmengine-lite": ("openmmlab", "mmengine"),
    "mmcv-lite": ("openmmlab", "mmcv"),
    "mmcv-full": ("openmmlab", "mmcv"),
}


@dataclass(frozen=True)
class Installed:
    """A snapshot of an environment.

    Attributes:
        versions: Distribution name (lower case, with hyphens) -> version.
        modules: Those of `MODULES`, and mmdet, that Python finds.
        has_pkg_resources: Whether Python finds `pkg_resources`.
        import_errors: Module -> first line of the error that its import raises. The doctor fills
            it for torch and torchvision.
    """

    versions: Mapping[str, str]
    modules: Collection[str]
    has_pkg_resources: bool = True
    import_errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A fault of an environment, and the shell command that fixes it.

    Attributes:
        problem: What is wrong, a clause without a full stop.
        command: The command.
        blocks_import: Whether nothing of ours can work because of the fault.
    """

    problem: str
    command: str
    blocks_import: bool = False

    def __str__(self) -> str:
        return f"{self.problem}; fix it with: {self.command}"


def _pip(*arguments: str) -> str:
    # The interpreter by its path: `pip` or `python` in the user's shell may be another one.
    return shlex.join([sys.executable or "python", "-m", "pip", *arguments])


def _install(*requirements: str) -> str:
    return _pip("install", *requirements)


def _find_family(versions: Collection[str]) -> str:
    """Return the family of the installed packages, or 'onedl' if there are none or two."""
    families = {family for name, (family, _) in _OWNERS.items() if name in versions}
    return families.pop() if len(families) == 1 else "onedl"


def find_stack_problems(installed: Installed) -> list[Finding]:
    """Find an OpenMMLab stack that is absent, mixed, incomplete or of a version that cannot work.

    Returns:
        The findings. A stack that is absent or mixed is the only finding, because its fix replaces
        all packages that other findings would be about.
    """
    versions = installed.versions
    owners = {name: _OWNERS[name] for name in sorted(_OWNERS) if name in versions}
    whole_stack = _install(*FAMILIES["onedl"])
    if not owners and not installed.modules:
        return [Finding("no OpenMMLab packages are installed", whole_stack, blocks_import=True)]

    if len({family for family, _ in owners.values()}) > 1:
        listed = ", ".join(f"{name} {versions[name]}" for name in owners)
        problem = f"two OpenMMLab stacks are installed over each other ({listed})"
        command = f"{_pip('uninstall', '-y', *owners)} && {whole_stack}"
        return [Finding(problem, command, blocks_import=True)]

    findings = []
    family = _find_family(versions)
    gone = [name for name, (_, module) in owners.items() if module not in installed.modules]
    if gone:
        problem = (
            f"the files of {', '.join(gone)} are gone (uninstalling another package that installs "
            "the same modules removes them)"
        )
        pins = [f"{name}=={versions[name]}" for name in gone]
        command = _install("--force-reinstall", "--no-deps", *pins)
        findings.append(Finding(problem, command, "mmengine" not in installed.modules))
    present = {*installed.modules, *(module for _, module in owners.values())}
    missing = [module for module in MODULES if module not in present]
    if missing:
        problem = f"the OpenMMLab stack is incomplete: {', '.join(missing)} missing"
        command = _install(*map(STACKS[family].get, missing), *UNDECLARED[family])
        findings.append(Finding(problem, command, "mmengine" in missing))
    for requirement in STACKS[family].values():
        name = _name(requirement)
        bounds = requirement.removeprefix(name)
        if name in versions and not _fits(installed, name, bounds):
            problem = f"{name} {versions[name]} does not fit, {bounds} is needed"
            if name == "mmcv" and (segmentation := versions.get("mmsegmentation")):
                problem += f" (mmsegmentation {segmentation} asserts it on import)"
            findings.append(Finding(problem, _install(requirement)))
    return findings


def _fits(installed: Installed, name: str, bounds: str) -> bool:
    if "packaging" not in installed.versions:
        return True  # its absence is a finding
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(bounds).contains(installed.versions[name], prereleases=True)


def _release(version: str) -> tuple[int, int]:
    """Return major and minor number."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def _find_torch_problems(installed: Installed) -> list[Finding]:
    """Find torch or torchvision missing, broken or of other releases: at most one finding."""
    torch, torchvision = map(installed.versions.get, ("torch", "torchvision"))
    if torch is None:
        return [Finding("torch is not installed", _install("torch", "torchvision"))]
    major, minor = _release(torch)
    # torch 2.0 came with torchvision 0.15, and every release since raised both by one.
    partner = f"torchvision==0.{minor + 15}.*" if major == 2 else "torchvision"
    if torchvision is None:
        return [Finding("torchvision is not installed", _install(f"torch=={torch}", partner))]
    if major == 2 and _release(torchvision) != (0, minor + 15):
        problem = f"torch {torch} and torchvision {torchvision} do not belong together"
        return [Finding(problem, _install(f"torch=={torch}", partner))]
    for module, other in (("torch", "machine"), ("torchvision", "torch")):
        if module in installed.import_errors:
            problem = (
                f"{module} {installed.versions[module]} cannot be imported "
                f"({installed.import_errors[module]}); it may be built for another {other}"
            )
            # Without the local part ("+cu130"): both then come from the same place.
            pins = [f"torch=={torch.split('+')[0]}", f"torchvision=={torchvision.split('+')[0]}"]
            return [Finding(problem, _install("--force-reinstall", *pins))]
    return []


def _find_detection_problems(installed: Installed) -> list[Finding]:
    """Find an mmdet of the other family, of a wrong version or without files, and two OpenCVs."""
    versions = installed.versions
    needed = DETECTION[_find_family(versions)]
    own = _name(needed)
    bounds = needed.removeprefix(own)
    present = [name for name in map(_name, DETECTION.values()) if name in versions]
    findings = []
    if present and (present != [own] or "mmdet" not in installed.modules):
        listed = ", ".join(f"{name} {versions[name]}" for name in present)
        problem = f"{listed} cannot work beside the other OpenMMLab packages, {needed} is needed"
        command = f"{_pip('uninstall', '-y', *present)} && {_install(needed)}"
        findings.append(Finding(problem, command))
    elif present and not _fits(installed, own, bounds):
        problem = f"{own} {versions[own]} does not fit, {bounds} is needed"
        findings.append(Finding(problem, _install(needed)))
    opencv = {name: versions[name] for name in _OPENCV if name in versions}
    if len(set(opencv.values())) > 1:
        listed = " and ".join(map(" ".join, opencv.items()))
        problem = f"{listed} overwrite each other's files, so that their versions must be equal"
        findings.append(Finding(problem, _install(f"{_OPENCV[1]}=={versions[_OPENCV[0]]}")))
    return findings


def find_problems(installed: Installed) -> list[Finding]:
    """Return all findings about an environment, the stack's first; none if all is well.

    Args:
        installed: The environment, `import_errors` filled.
    """
    findings = [
        *find_stack_problems(installed),
        *_find_torch_problems(installed),
        *_find_detection_problems(installed),
    ]
    versions = installed.versions
    users = [name for name in ("pytorch-wavelets", "mmengine") if name in versions]
    if users and not installed.has_pkg_resources:
        version = versions.get("setuptools")
        state = f"setuptools {version} has no" if version else "setuptools is not installed, so no"
        problem = f"{state} pkg_resources, which {' and '.join(users)} cannot do without"
        findings.append(Finding(problem, _install("setuptools<82")))
    others = [name for name in REQUIRED if name not in ("torch", "torchvision")]
    missing = [name for name in others if _name(name) not in versions]
    if missing:
        findings.append(Finding(f"{', '.join(missing)} not installed", _install(*missing)))
    return findings


def find_warnings(installed: Installed) -> list[Finding]:
    """Find what works but is unsafe: at most a torch that reads checkpoints with known faults."""
    version = installed.versions.get("torch")
    if version is None or _release(version) >= SAFE_TORCH:
        return []
    problem = f"torch {version} reads checkpoints with faults that 2.10 does not have"
    if _release(version) < (2, 6):
        problem += ", and no training can be resumed with it"
    floor = ".".join(map(str, SAFE_TORCH))
    return [Finding(problem, _install("--upgrade", f"torch>={floor}", "torchvision"))]


def _is_found(module: str) -> bool:
    # No origin: an empty folder that an uninstallation left, which Python takes for a namespace.
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def inspect_environment(names: Collection[str] = ()) -> Installed:
    """Inspect the environment of this interpreter without importing its packages.

    Args:
        names: Distributions to look up besides those of the stacks. To look up a name takes far
            less time than to list all distributions.

    Returns:
        The environment, without `import_errors`.
    """
    versions = {}
    for name in {*_OWNERS, *_OPENCV, *map(_name, (*REQUIRED, *DETECTION.values())), *names}:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Installed(
        versions=versions,
        modules=[module for module in (*MODULES, "mmdet") if _is_found(module)],
        has_pkg_resources=_is_found("pkg_resources"),
    )


@functools.cache  # mmengine looks up many bases of configs, and each lookup connects
def check_stack() -> None:
    """Check that mmengine is installed, and one family of OpenMMLab packages alone.

    Raises:
        ImportError: With the message that the doctor prints.
    """
    for finding in find_stack_problems(inspect_environment()):
        if finding.blocks_import:
            raise ImportError(str(finding), name="mmengine")


def check_detection() -> None:
    """Check that mmdet is installed.

    Raises:
        UserInputError: With the command that installs it. mmengine would replace an ImportError by
            its own message.
    """
    if not _is_found("mmdet"):
        needed = DETECTION[_find_family(inspect_environment().versions)]
        raise UserInputError(
            f"detection needs mmdet, which is not installed; install it with: {_install(needed)}"
        )
