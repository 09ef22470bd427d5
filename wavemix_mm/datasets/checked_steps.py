"""Replace the loaders of a built pipeline by loaders that check their files.

The class of a step decides, not its spelling in a config: a name, a full path and the class itself
build the same object.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import LoadAnnotations as MMCVLoadAnnotations
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile

from wavemix_mm.datasets.decode import (
    check_file,
    check_label_size,
    check_label_values,
    decode_label,
    naming,
    read_bytes,
)
from wavemix_mm.datasets.transforms.load_image import LoadImageFromFile
from wavemix_mm.errors import BadSampleError, UserInputError

_MMCV, _MMSEG = "mmcv.transforms.loading", "mmseg.datasets.transforms.loading"


def put_checks(pipeline: Any) -> tuple[Any, list[str]]:
    """Replace the loaders in a pipeline, inside Compose, TestTimeAug, RandomChoice and so on too.

    mmcv's LoadImageFromFile and mmseg's LoadAnnotations become `wavemix_mm.LoadImageFromFile` and
    `wavemix_mm.LoadAnnotations` with the same settings. Any other loader of these toolboxes, and
    any subclass, keeps its own methods and gets a `CheckedLoader` around it.

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
    """Yield the steps of a class or its subclasses in a pipeline, also those inside other steps.

    Instead of a step in a `CheckedLoader`, yield the `CheckedLoader`.
    """
    seen: set[int] = set()
    pending = [pipeline]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.step if isinstance(node, CheckedLoader) else node, kind):
            yield node
        else:
            pending += [inner for _, inner in _inner(node)]


class CheckedLoader(BaseTransform):
    """Wrap a loader of another class: check its file before, and its label after.

    The file of a subclass of mmcv's loaders must exist, must not be empty and, as JPEG or PNG, must
    be whole. A label that is decoded as mmseg does is decoded once more, as
    `wavemix_mm.LoadAnnotations` does. mmseg's loaders of volumes and geodata read their files
    themselves. In each case an error of the loader names the file, and a label must hold nothing
    but classes and ``ignore_index``.

    Args:
        step: A loader of mmcv or mmseg, or an instance of a subclass.

    Raises:
        BadSampleError: In use, also on any error of the loader.
    """

    def __init__(self, step: Any) -> None:
        self.step = step
        kind = _toolbox_class(step).__name__
        self.what, self.key = "image", "img_path"
        if "Depth" in kind:
            self.what, self.key = "depth map", "depth_map_path"
        elif "Annotation" in kind:
            self.what, self.key = "label", "seg_map_path"

    def transform(self, results: dict) -> dict | None:
        """Load as the loader does."""
        if getattr(self.step, "ignore_empty", False):
            return self.step(results)
        path = results.get(self.key)
        is_file = isinstance(self.step, MMCVLoadImageFromFile | MMCVLoadAnnotations)
        if is_file and isinstance(path, str):
            self._check_file(path, results)
        name = f"{self.what} {path}"
        if path is None:  # annotations of mmdet, which its dataset has read
            name = f"{self.what} of image {results.get('img_path')}"
        with naming(f"{name} cannot be loaded by {type(self.step).__name__}"):
            loaded = self.step(results)
        if self.what == "label" and loaded is not None and "gt_seg_map" in loaded:
            self._check_label(loaded, str(path))
        return loaded

    def _check_file(self, path: str, results: dict) -> None:
        data = read_bytes(path, self.what, self.step.backend_args)
        host = _toolbox_class(self.step)
        if not _loads_mmseg_label(host) or type(self.step)._load_seg_map is not host._load_seg_map:
            check_file(data, f"{self.what} {path}")
            return
        label = decode_label(data, path, self.step.imdecode_backend)
        if "ori_shape" in results:
            check_label_size(label.shape, path, results["ori_shape"], results.get("img_path", ""))

    def _check_label(self, results: dict, path: str) -> None:
        label = np.asarray(results["gt_seg_map"])
        if isinstance(self.step, MMCVLoadAnnotations) and label.ndim != 2:
            raise BadSampleError(
                f"label {path} has the shape {label.shape} after {type(self.step).__name__}: a "
                "label has one channel, the class index."
            )
        if "num_classes" in results:
            check_label_values(label, label, path, results["num_classes"], results["ignore_index"])


def _toolbox_class(step: Any) -> Any:
    """Return the loader of mmcv or mmseg from which a step derives; None for ours and others."""
    for kind in type(step).__mro__:
        if kind.__module__ in (_MMCV, _MMSEG) and kind.__name__.startswith("Load"):
            return kind
        if kind.__module__.startswith("wavemix_mm."):
            break
    return None


def _loads_mmseg_label(kind: type) -> bool:
    return kind.__module__ == _MMSEG and kind.__name__ == "LoadAnnotations"


def _stand_in(step: Any, replaced: list[str]) -> Any:
    host = _toolbox_class(step)
    if host is None:
        return step
    if getattr(step, "file_client_args", None) is not None:
        raise UserInputError(
            f"{type(step).__name__} takes backend_args, not file_client_args, which is deprecated."
        )
    ours: Any = None
    if type(step) is MMCVLoadImageFromFile:
        ours = LoadImageFromFile
    elif type(step) is host and _loads_mmseg_label(host):
        from wavemix_mm.datasets.transforms.load_annotations import LoadAnnotations as ours
    new = object.__new__(ours) if ours else CheckedLoader(step)
    if ours:
        vars(new).update(vars(step))
    name = f"wavemix_mm.{ours.__name__}" if ours else "the same in a wavemix_mm.CheckedLoader"
    replaced.append(f"{name} for {type(step).__module__}.{type(step).__name__}")
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


def _inner(node: Any) -> list[tuple[Any, Any]]:
    """Return what a list, dict or step holds, with its place there."""
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
    target = new if isinstance(new, list | dict) else vars(new)
    for key, step in changes.items():
        target[key] = step
    return new
