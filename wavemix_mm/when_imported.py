"""Run a function as soon as a module is imported, without importing it.

What connects the plugin to the hosts needs modules of theirs that take seconds to import, which
`import wavemix_mm` must not do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


@dataclass(frozen=True)
class _Finder(MetaPathFinder):
    """Finds one submodule as those after it do, and has its loader call the function at the end."""

    name: str
    function: Callable[[ModuleType], None]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        finders = (finder for finder in others if hasattr(finder, "find_spec"))
        specs = (finder.find_spec(fullname, path, target) for finder in finders)
        spec = next(filter(None, specs), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:  # else the module is imported once more
                sys.meta_path.remove(self)
                self.function(module)

        # In place of the method of this one loader, so that it keeps its type.
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def when_imported(name: str, function: Callable[[ModuleType], None]) -> None:
    """Call a function with a module: now if it has been imported, else once it is.

    Args:
        name: Full name of a submodule, e.g. 'package.module'.
        function: What to call; the same one given again for a module that is not imported yet
            is called once.
    """
    module = sys.modules.get(name)
    finder = _Finder(name, function)
    if module is not None:
        function(module)
    elif finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)
