"""Do data sets, heads and checkpoints agree on the classes?"""

from __future__ import annotations

from typing import Any

from torch import nn

from wavemix_mm.engine.checkpoints.fit import unwrap
from wavemix_mm.engine.messages import warn
from wavemix_mm.errors import UserInputError


def check_num_classes(model: nn.Module, dataset: Any, config_path: str) -> None:
    """Check that every head of the model has as many classes as the dataset.

    Raises:
        UserInputError: If one has another number.
    """
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if classes is None:
        return
    model = unwrap(model)
    for name in ("decode_head", "auxiliary_head", "head"):
        head = getattr(model, name, None)
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            number = getattr(part, "num_classes", None)
            if isinstance(number, int) and number != len(classes):
                raise UserInputError(
                    f"config {config_path}: model.{name}.num_classes={number}, but "
                    f"{type(dataset).__name__} has {len(classes)} classes."
                )


def check_classes_of_checkpoint(content: Any, dataset: Any, path: str) -> None:
    """Check that a dataset has the classes in the order in which a checkpoint was trained.

    Args:
        content: What `read_checkpoint` returns.
        dataset: The dataset to test on.
        path: The checkpoint, for the message.

    Raises:
        UserInputError: If the names are the same in another order. Other names give a warning,
            because sets may spell the same classes differently.
    """
    meta = content.get("meta") if isinstance(content, dict) else None
    trained = meta.get("dataset_meta") if isinstance(meta, dict) else None
    known = list((trained or {}).get("classes") or ())
    found = list((getattr(dataset, "metainfo", None) or {}).get("classes") or ())
    if known and found and (text := class_difference(known, found, path, "test_dataloader")):
        if sorted(map(str, known)) == sorted(map(str, found)):
            raise UserInputError(text)
        warn(text)


def class_difference(expected: list, found: list, first: str, second: str) -> str | None:
    """What to say if two lists of class names differ, None if they do not."""
    if expected == found:
        return None
    what = []
    for names, others, where in ((expected, found, first), (found, expected, second)):
        if only := [str(name) for name in names if name not in others]:
            what.append(f"{_some(only)} only in {where}")
    if not what:
        pairs = enumerate(zip(expected, found, strict=True))
        i = next(i for i, (one, other) in pairs if one != other)
        what = [f"class {i} is {expected[i]!r} in {first} and {found[i]!r} in {second}"]
    return (
        f"{first} has {len(expected)} classes, {second} has {len(found)}, and they differ: "
        f"{', '.join(what)}. Labels are indices into these lists, so that they must be equal: make "
        "the class folders or metainfo.classes equal (an empty class folder counts)."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
