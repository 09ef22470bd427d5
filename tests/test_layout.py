"""The rooms of the package, what each may import, and how long its files may be."""

import ast
import importlib.util
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wavemix_mm"
NETWORK = PACKAGE / "models" / "backbones" / "wavemix.py"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if ".mim" not in path.parts)

# What no file of a room imports, the room's own subpackages included.
FORBIDDEN = {
    "wavemix_mm.engine": ("models", "official", "host", "cli"),
    "wavemix_mm.models": ("engine", "official", "host", "datasets", "cli"),
    "wavemix_mm.datasets": ("engine", "models", "official", "host", "cli"),
    "wavemix_mm.official": ("engine", "host", "datasets", "cli"),
    "wavemix_mm.host": ("cli",),
    "wavemix_mm.inference": ("models", "official", "analysis", "deployment", "web", "cli"),
    "wavemix_mm.analysis": ("models", "official", "deployment", "web", "cli"),
    "wavemix_mm.deployment": ("official", "web", "cli"),
    "wavemix_mm.web": ("official", "deployment", "cli"),
    # within the engine, from the ground floor up
    "wavemix_mm.engine.messages": ("engine",),
    "wavemix_mm.engine.checkpoints": ("engine.hooks", "engine.run"),
    "wavemix_mm.engine.exact": ("engine.hooks", "engine.run"),
    "wavemix_mm.engine.guard": ("engine.hooks", "engine.run"),
    "wavemix_mm.engine.parallel": ("engine.hooks", "engine.run"),
    "wavemix_mm.engine.hooks": ("engine.run",),
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported_names(path):
    """Full names of what a file imports, inside of functions too, but not for type checkers."""
    tree = ast.parse(path.read_text())
    package = module_name(path) if path.name == "__init__.py" else module_name(path.parent)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{name}.{alias.name}" for alias in node.names)


def imported_modules(path):
    """The package's own modules that a file imports."""
    for name in imported_names(path):
        if name in MODULES:
            yield name
        elif name.rpartition(".")[0] in MODULES:
            yield name.rpartition(".")[0]


def is_within(name, room):
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_nothing_of_the_rooms_above_it(room):
    files = [path for name, path in MODULES.items() if is_within(name, room)]
    assert files
    others = [f"wavemix_mm.{other}" for other in FORBIDDEN[room]]
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported_modules(path)
        if any(is_within(name, other) for other in others)
    ]
    assert not found


def test_the_package_imports_no_tool_and_no_test():
    others = ("tools", "tests", "configs")
    assert not [
        (path, name)
        for path in FILES
        for name in imported_names(path)
        if name.partition(".")[0] in others
    ]


def test_no_import_cycle():
    graph = {name: set(imported_modules(path)) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def test_length():
    for path in FILES:
        lines = len(path.read_text().splitlines())
        assert lines <= (400 if path == NETWORK else 300), path


def test_root_of_the_package():
    names = {path.stem for path in FILES if path.parent == PACKAGE}
    others = "apis detection errors hub registry timm version"
    assert names == {"__init__", "__main__", *others.split()}


def test_no_patch_of_python_or_of_a_foreign_class():
    pattern = r"meta_path|orig_argv|sys\.argv|walk_tb|dataset\.__class__|object\.__setattr__"
    assert not [path.name for path in FILES if re.search(pattern, path.read_text())]
