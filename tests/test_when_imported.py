"""Functions that wait for a module."""

import importlib
import sys

import pytest

from wavemix_mm.when_imported import when_imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `parcel` with the modules `item`, `broken` and `other`, none imported."""
    folder = tmp_path / "parcel"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "item.py").write_text("def value():\n    return 3\n")
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "other.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield folder
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "parcel"]:
        del sys.modules[name]


def test_called_once_with_the_finished_module(package):
    before = list(sys.meta_path)
    calls = []

    def function(module):
        calls.append((module, module.value()))

    when_imported("parcel.item", function)
    when_imported("parcel.item", function)
    assert "parcel" not in sys.modules
    importlib.import_module("parcel.other")
    # looking for a module does not import it
    assert importlib.util.find_spec("parcel.item") is not None
    assert calls == []

    item = importlib.import_module("parcel.item")
    assert calls == [(item, 3)]
    importlib.reload(item)
    assert len(calls) == 1
    assert sys.meta_path == before

    when_imported("parcel.item", function)  # now at once
    assert len(calls) == 2


def test_several_functions(package):
    calls = []
    when_imported("parcel.item", lambda module: calls.append("first"))
    when_imported("parcel.item", lambda module: calls.append("second"))
    importlib.import_module("parcel.item")
    assert sorted(calls) == ["first", "second"]


def test_module_that_does_not_exist_or_fails(package):
    calls = []
    when_imported("parcel.absent", calls.append)
    when_imported("parcel.broken", calls.append)
    with pytest.raises(ModuleNotFoundError, match="parcel.absent"):
        importlib.import_module("parcel.absent")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("parcel.broken")
    assert calls == []
    (package / "broken.py").write_text("mended = True\n")
    importlib.invalidate_caches()
    assert importlib.import_module("parcel.broken").mended
    assert calls == [sys.modules["parcel.broken"]]
