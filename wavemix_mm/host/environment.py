"""What is installed, what does not fit together, and the one command that mends it.

The findings are pure functions of what is installed (`Installed`), so that they can be tested
without installing anything. This file imports the standard library alone: it must work where
nothing else does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

# Module -> requirement, for the two families of distributions that install the same modules.
# setup.py offers both lists as extras.
STACKS: dict[str, dict[str, str]] = {
    "onedl": {
        "mmengine": "onedl-mmengine>=0.10.12",
        "mmcv": "onedl-mmcv>=2.3.6",
        "mmseg": "onedl-mmsegmentation>=1.4.2",
        "mmpretrain": "onedl-mmpretrain>=1.3.6",
    },
    "openmmlab": {
        "mmengine": "mmengine>=0.10.7,<1",
        "mmcv": "mmcv>=2.1,<2.2",
        "mmseg": "mmsegmentation>=1.2.2,<2",
        "mmpretrain": "mmpretrain>=1.2,<2",
    },
}
# What the packages of a stack import without declaring it.
UNDECLARED = {"onedl": [], "openmmlab": ["setuptools<82", "ftfy", "regex"]}
MODULES = tuple(STACKS["onedl"])
# From this release on torch.load(weights_only=True) has no fault known to run code of a file or to
# damage memory: CVE-2025-32434 was mended in 2.6, CVE-2026-24747 in 2.10.
SAFE_TORCH = (2, 10)


def _name(requirement: str) -> str:
    return re.split(r"[<>=]", requirement, maxsplit=1)[0]


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
_REQUIRED = {
    "numpy": "numpy",
    "packaging": "packaging",
    "pywavelets": "PyWavelets",
    "safetensors": "safetensors",
}


@dataclass(frozen=True)
class Installed:
    """A snapshot of an environment.

    Attributes:
        versions: Distribution name (lower case, with hyphens) -> version.
        modules: Those of `MODULES` that Python finds.
        has_pkg_resources: Whether Python finds `pkg_resources`.
        import_errors: Module -> first line of the error that importing it raises; filled for
            torch and torchvision by `wavemix_mm.host.doctor`.
    """

    versions: Mapping[str, str]
    modules: Collection[str]
    has_pkg_resources: bool = True
    import_errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """A fault of an environment and the shell command that mends it.

    Attributes:
        problem: What is wrong, a clause without a full stop.
        command: The command.
        blocks_import: Whether `import wavemix_mm` must fail because of it.
    """

    problem: str
    command: str
    blocks_import: bool = False

    def __str__(self) -> str:
        return f"{self.problem}; mend it with: {self.command}"


def _pip(*arguments: str) -> str:
    # The interpreter by its path: `pip` or `python` in the user's shell may be another one.
    return shlex.join([sys.executable or "python", "-m", "pip", *arguments])


def _install(*requirements: str) -> str:
    return _pip("install", *requirements)


def _stack_requirements(family: str) -> list[str]:
    return [*STACKS[family].values(), *UNDECLARED[family]]


def find_stack_problems(installed: Installed) -> list[Finding]:
    """Find an OpenMMLab stack that is absent, mixed, incomplete or of a version that cannot work.

    Args:
        installed: The environment.

    Returns:
        The findings; a stack that is absent or mixed is the only one, since mending it replaces
        everything that the others would be about.
    """
    owners = {name: _OWNERS[name] for name in sorted(_OWNERS) if name in installed.versions}
    if not owners and not installed.modules:
        command = _install(*_stack_requirements("onedl"))
        return [Finding("no OpenMMLab packages are installed", command, blocks_import=True)]

    families = {family for family, _ in owners.values()}
    if len(families) > 1:
        listed = ", ".join(f"{name} {installed.versions[name]}" for name in owners)
        problem = f"two OpenMMLab stacks are installed over each other ({listed})"
        command = f"{_pip('uninstall', '-y', *owners)} && {_install(*_stack_requirements('onedl'))}"
        return [Finding(problem, command, blocks_import=True)]

    findings = []
    family = families.pop() if families else "onedl"
    gone = [name for name, (_, module) in owners.items() if module not in installed.modules]
    if gone:
        pins = [f"{name}=={installed.versions[name]}" for name in gone]
        findings.append(
            Finding(
                f"the files of {', '.join(gone)} are gone (uninstalling another package that "
                "installs the same modules removes them)",
                _install("--force-reinstall", "--no-deps", *pins),
                blocks_import="mmengine" not in installed.modules,
            )
        )
    owned = {module for _, module in owners.values()}
    missing = [m for m in MODULES if m not in installed.modules and m not in owned]
    if missing:
        requirements = [STACKS[family][module] for module in missing]
        findings.append(
            Finding(
                f"the OpenMMLab stack is incomplete: {', '.join(missing)} missing",
                _install(*requirements, *UNDECLARED[family]),
                blocks_import="mmengine" in missing,
            )
        )
    return findings + _find_unfit_versions(installed, family)


def _find_unfit_versions(installed: Installed, family: str) -> list[Finding]:
    if "packaging" not in installed.versions:
        return []  # A finding of its own, see find_missing_requirements.
    from packaging.specifiers import SpecifierSet

    findings = []
    for module, requirement in STACKS[family].items():
        name = _name(requirement)
        version = installed.versions.get(name)
        bounds = requirement.removeprefix(name)
        if version is None or SpecifierSet(bounds).contains(version, prereleases=True):
            continue
        problem = f"{name} {version} does not fit, {bounds} is needed"
        segmentation = installed.versions.get("mmsegmentation")
        if family == "openmmlab" and module == "mmcv" and segmentation:
            problem += f" (mmsegmentation {segmentation} asserts it on import)"
        findings.append(Finding(problem, _install(requirement)))
    return findings


def release(version: str) -> tuple[int, int]:
    """Return major and minor number."""
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def find_torch_problems(installed: Installed) -> list[Finding]:
    """Find torch or torchvision missing, broken, or not of the same release.

    Args:
        installed: The environment, `import_errors` filled.

    Returns:
        At most one finding.
    """
    torch = installed.versions.get("torch")
    torchvision = installed.versions.get("torchvision")
    if torch is None:
        return [Finding("torch is not installed", _install("torch", "torchvision"))]
    major, minor = release(torch)
    # torch 2.0 came with torchvision 0.15, and every release since raised both by one.
    partner = f"torchvision==0.{minor + 15}.*" if major == 2 else "torchvision"
    if torchvision is None:
        return [Finding("torchvision is not installed", _install(f"torch=={torch}", partner))]
    if major == 2 and release(torchvision) != (0, minor + 15):
        problem = f"torch {torch} and torchvision {torchvision} do not belong together"
        return [Finding(problem, _install(f"torch=={torch}", partner))]
    for module in ("torch", "torchvision"):
        if module in installed.import_errors:
            problem = (
                f"{module} {installed.versions[module]} cannot be imported "
                f"({installed.import_errors[module]}), as when it was built for another "
                f"{'machine' if module == 'torch' else 'torch'}"
            )
            # Without the local part ("+cu130"): the two then come from the same place.
            pins = [f"torch=={torch.split('+')[0]}", f"torchvision=={torchvision.split('+')[0]}"]
            return [Finding(problem, _install("--force-reinstall", *pins))]
    return []


def find_pkg_resources_problems(installed: Installed) -> list[Finding]:
    """Find setuptools without `pkg_resources` where an installed package imports that.

    Args:
        installed: The environment.

    Returns:
        At most one finding.
    """
    users = [name for name in ("pytorch-wavelets", "mmengine") if name in installed.versions]
    if installed.has_pkg_resources or not users:
        return []
    version = installed.versions.get("setuptools")
    state = f"setuptools {version} has no" if version else "setuptools is not installed, so no"
    problem = f"{state} pkg_resources, which {' and '.join(users)} cannot do without"
    return [Finding(problem, _install("setuptools<82"))]


def find_missing_requirements(installed: Installed) -> list[Finding]:
    """Find plain requirements of this package that are not installed.

    Args:
        installed: The environment.

    Returns:
        At most one finding.
    """
    missing = [shown for name, shown in _REQUIRED.items() if name not in installed.versions]
    if not missing:
        return []
    return [Finding(f"{', '.join(missing)} not installed", _install(*missing))]


def find_problems(installed: Installed) -> list[Finding]:
    """Return all findings about an environment, the stack's first.

    Args:
        installed: The environment.

    Returns:
        The findings, an empty list where all is well.
    """
    return [
        *find_stack_problems(installed),
        *find_torch_problems(installed),
        *find_pkg_resources_problems(installed),
        *find_missing_requirements(installed),
    ]


def find_warnings(installed: Installed) -> list[Finding]:
    """Find what works, but not as safely as it could.

    Args:
        installed: The environment.

    Returns:
        At most one finding: a torch that reads checkpoints with known faults.
    """
    version = installed.versions.get("torch")
    if version is None or release(version) >= SAFE_TORCH:
        return []
    problem = f"torch {version} reads checkpoints with faults that 2.10 does not have"
    if release(version) < (2, 6):
        problem += ", and no training can be resumed with it"
    floor = ".".join(map(str, SAFE_TORCH))
    return [Finding(problem, _install("--upgrade", f"torch>={floor}", "torchvision"))]


def _is_found(module: str) -> bool:
    # No origin: an empty folder that an uninstallation left, which Python takes for a namespace.
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def look(names: Collection[str] = ()) -> Installed:
    """Look at this interpreter's environment, importing nothing.

    Args:
        names: Distributions whose versions are wanted besides those of the stacks. A look-up by
            name costs far less than a list of all distributions.

    Returns:
        The environment, without `import_errors`.
    """
    versions = {}
    for name in {*_OWNERS, *_REQUIRED, *names}:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Installed(
        versions=versions,
        modules=[module for module in MODULES if _is_found(module)],
        has_pkg_resources=_is_found("pkg_resources"),
    )


def check_stack() -> None:
    """Check what `import wavemix_mm` needs: mmengine, from one family of packages.

    Raises:
        ImportError: with the sentence that the doctor prints.
    """
    for finding in find_stack_problems(look()):
        if finding.blocks_import:
            raise ImportError(str(finding), name="mmengine")
