"""Replace the loaders of a built pipeline by loaders that check their files.

The class of a step decides, not its spelling in a config: a name, a full path and the class itself
build the same object.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile

from wavemix_mm.datasets.decode import check_file, check_label_values, read_bytes
from wavemix_mm.datasets.transforms.load_image import LoadImageFromFile
from wavemix_mm.errors import BadSampleError, UserInputError

_MMCV_LOADERS = (MMCVLoadImageFromFile, MMCVLoadAnnotations)


def put_checks(pipeline: Any) -> tuple[Any, list[str]]:
    """Replace the loaders in a pipeline, inside Compose, TestTimeAug, RandomChoice and so on too.

    mmcv's LoadImageFromFile and mmseg's LoadAnnotations become `wavemix_mm.LoadImageFromFile` and
    `wavemix_mm.LoadAnnotations` with the same settings. A subclass of these keeps its own methods
    and gets a `CheckedLoader` around it.

    Args:
        pipeline: A step, or a list or object that holds steps. It is not changed: what holds a
            loader is copied.

    Returns:
        The pipeline, which is the same object if it holds no such loader, and one text for each
        loader that says what stands in for it.

    Raises:
        UserInputError: If a loader has ``file_client_args``, which mmcv deprecates.
    """
    replaced: list[str] = []
    return _walk(pipeline, {}, replaced), replaced


def find_steps(pipeline: Any, kind: type) -> Iterator[Any]:
    """Yield the steps of a class or its subclasses in a pipeline, also those inside other steps."""
    seen: set[int] = set()
    pending = [pipeline]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, kind):
            yield node
        pending += [inner for _, inner in _inner(node)]


class CheckedLoader(BaseTransform):
    """Wrap a loader of another class: check its file before, and its label after.

    A loader that decodes as mmcv or mmseg does has its file decoded once more, by
    `wavemix_mm.LoadImageFromFile` or `wavemix_mm.LoadAnnotations`. For any other subclass of mmcv's
    loaders, the file must exist, must not be empty and, as JPEG or PNG, must be whole. mmseg's
    loaders of volumes and geodata read their files themselves. In each case an error of the loader
    names the file, and a label must hold nothing but classes and ``ignore_index``.

    Args:
        step: A loader of mmcv or mmseg, or an instance of a subclass.

    Raises:
        BadSampleError: In use, also on any error of the loader.
    """

    def __init__(self, step: Any) -> None:
        self.step = step
        self.what, self.key = next(
            name for kind, name in _loaders().items() if isinstance(step, kind)
        )
        self.full_check = _full_check(step)

    def transform(self, results: dict) -> dict | None:
        """Load as the loader does."""
        if getattr(self.step, "ignore_empty", False):
            return self.step(results)
        path = results.get(self.key)
        if self.full_check is not None and isinstance(path, str):
            seg_fields = list(results.get("seg_fields", ()))
            self.full_check.transform(results | dict(seg_fields=seg_fields))
        elif isinstance(self.step, _MMCV_LOADERS) and isinstance(path, str):
            data = read_bytes(path, self.what, getattr(self.step, "backend_args", None))
            check_file(data, f"{self.what} {path}")
        try:
            loaded = self.step(results)
        except (MemoryError, UserInputError):
            raise
        # A loader may be any class of any package.
        except Exception as error:
            text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise BadSampleError(
                f"{self.what} {path} cannot be loaded by {type(self.step).__name__}: {text}."
            ) from error
        if self.what == "label" and loaded is not None and "gt_seg_map" in loaded:
            self._check_label(loaded, str(path))
        return loaded

    def _check_label(self, results: dict, path: str) -> None:
        label = np.asarray(results["gt_seg_map"])
        if isinstance(self.step, MMCVLoadAnnotations) and label.ndim != 2:
            raise BadSampleError(
                f"label {path} has the shape {label.shape} after {type(self.step).__name__}: a "
                "label has one channel, the class index."
            )
        if "num_classes" in results:
            check_label_values(label, label, path, results["num_classes"], results["ignore_index"])


@cache
def _loaders() -> dict[type, tuple[str, str]]:
    """Classes that load a file, with the name of that file in messages and in the results."""
    image, label = ("image", "img_path"), ("label", "seg_map_path")
    found: dict[type, tuple[str, str]] = {MMCVLoadImageFromFile: image, MMCVLoadAnnotations: label}
    if find_spec("mmseg") is not None:
        from mmseg.datasets.transforms import loading

        found |= {
            loading.LoadBiomedicalImageFromFile: image,
            loading.LoadBiomedicalAnnotation: label,
            loading.LoadBiomedicalData: image,
            loading.LoadSingleRSImageFromFile: image,
            loading.LoadMultipleRSImageFromFile: image,
            loading.LoadDepthAnnotation: ("depth map", "depth_map_path"),
        }
    return found


@cache
def _stand_ins() -> dict[type, type]:
    found: dict[type, type] = {MMCVLoadImageFromFile: LoadImageFromFile}
    if find_spec("mmseg") is not None:
        from mmseg.datasets.transforms import LoadAnnotations as MMSegLoadAnnotations

        from wavemix_mm.datasets.transforms.load_annotations import LoadAnnotations

        found[MMSegLoadAnnotations] = LoadAnnotations
    return found


def _full_check(step: Any) -> Any:
    """Ours with the settings of a loader, if that decodes as its base of a toolbox does."""
    for host, ours in _stand_ins().items():
        method = "transform" if ours is LoadImageFromFile else "_load_seg_map"
        if isinstance(step, host) and getattr(type(step), method) is getattr(host, method):
            return _with_settings_of(step, ours)
    return None


def _with_settings_of(step: Any, ours: type) -> Any:
    if getattr(step, "file_client_args", None) is not None:
        raise UserInputError(
            f"{type(step).__name__} takes backend_args, not file_client_args, which is deprecated."
        )
    new: Any = object.__new__(ours)
    new.__dict__.update(step.__dict__)
    return new


def _walk(node: Any, done: dict[int, Any], replaced: list[str]) -> Any:
    if id(node) in done:
        return done[id(node)]
    done[id(node)] = node  # for what holds itself
    new = _stand_in(node, replaced)
    if new is node and not isinstance(node, CheckedLoader):
        changes = {
            key: step
            for key, inner in _inner(node)
            if (step := _walk(inner, done, replaced)) is not inner
        }
        if changes:
            new = _changed(node, changes)
    done[id(node)] = new
    return new


def _stand_in(node: Any, replaced: list[str]) -> Any:
    ours = _stand_ins().get(type(node))
    new: Any = node
    if ours is not None:
        new = _with_settings_of(node, ours)
        name = f"wavemix_mm.{ours.__name__}"
    elif isinstance(node, tuple(_loaders())) and not isinstance(node, tuple(_stand_ins().values())):
        new = CheckedLoader(node)
        name = "the same in a wavemix_mm.CheckedLoader"
    if new is not node:
        replaced.append(f"{name} for {type(node).__module__}.{type(node).__name__}")
    return new


def _inner(node: Any) -> list[tuple[Any, Any]]:
    """What a list, dict or step holds, with its place there."""
    if type(node) in (list, tuple):
        items: Any = enumerate(node)
    elif type(node) is dict:
        items = node.items()
    elif callable(node) and not isinstance(node, type) and hasattr(node, "__dict__"):
        items = vars(node).items()
    else:
        return []
    return [pair for pair in items if type(pair[1]) in (list, tuple, dict) or callable(pair[1])]


def _changed(node: Any, changes: dict) -> Any:
    if isinstance(node, tuple):
        return tuple(changes.get(i, item) for i, item in enumerate(node))
    new = copy.copy(node)
    target = new if isinstance(new, list | dict) else new.__dict__
    for key, step in changes.items():
        target[key] = step
    return new
