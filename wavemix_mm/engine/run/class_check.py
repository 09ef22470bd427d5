"""Check that models, losses, datasets and checkpoints agree on the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

from wavemix_mm.datasets.label_counts import sample_labels
from wavemix_mm.engine.checkpoints.fit import unwrap
from wavemix_mm.engine.messages import Finding, warn
from wavemix_mm.errors import UserInputError

# of segmentors, classifiers and detectors
_HEADS = (
    *("decode_head", "auxiliary_head", "head"),
    *("bbox_head", "mask_head", "roi_head.bbox_head", "roi_head.mask_head"),
)


def find_class_errors(model: nn.Module, datasets: Mapping[str, Any]) -> Iterator[Finding]:
    """Find disagreements on the classes between datasets, heads, losses and the preprocessor."""
    expected = _classes(datasets.get("train"))
    for name, dataset in datasets.items():
        loader, found = f"{name}_dataloader", _classes(dataset)
        difference = class_difference(expected, found, "train_dataloader", loader)
        if expected and found and difference:
            yield Finding(difference)
        for text in _wrong_numbers(model, dataset, loader):
            yield Finding(text)
    pre = getattr(model, "data_preprocessor", None)
    # mmdet's preprocessor, whose batch_augments mix no labels, has no num_classes
    mixes = getattr(pre, "batch_augments", None) is not None and hasattr(pre, "num_classes")
    for name, head in heads(model):
        number = num_classes(head)
        if mixes and number not in (None, num_classes(pre)):
            yield Finding(
                f"{name}.num_classes={number}, but data_preprocessor.num_classes="
                f"{num_classes(pre)}, which mixes the labels."
            )
        for loss in _losses(head):
            yield from _check_loss(name, number, output_channels(head), loss)
            hard = not getattr(loss, "use_soft", True) and not getattr(loss, "use_sigmoid", False)
            if mixes and hard:
                yield Finding(
                    f"model.train_cfg.augments mixes labels, but {type(loss).__name__} of {name} "
                    "takes none that are mixed: set its use_soft=True."
                )


def check_num_classes(model: nn.Module, dataset: Any, config_path: str) -> None:
    """Check that every head of the model has as many classes as the test dataset.

    Raises:
        UserInputError: If a head has another number.
    """
    for text in _wrong_numbers(model, dataset, "test_dataloader"):
        raise UserInputError(f"config {config_path}: {text}")


def check_classes_of_checkpoint(content: Any, dataset: Any, path: str) -> None:
    """Check that a dataset has the classes with which a checkpoint was trained, in the same order.

    Raises:
        UserInputError: If the names are the same in another order. Other names give a warning,
            because datasets may spell the same classes differently.
    """
    meta = content.get("meta") if isinstance(content, dict) else None
    trained = meta.get("dataset_meta") if isinstance(meta, dict) else None
    known, found = list((trained or {}).get("classes") or ()), _classes(dataset)
    if known and found and (text := class_difference(known, found, path, "test_dataloader")):
        if sorted(map(str, known)) == sorted(map(str, found)):
            raise UserInputError(text)
        warn(text)


def find_absent_classes(dataset: Any) -> Iterator[Finding]:
    """Warn of classes that `sample_labels` does not find in the training set."""
    counts = sample_labels(dataset) if is_main_process() else None
    if counts is not None and (text := counts.message()):
        if counts.read < counts.total:
            text += " tools/analysis_tools/check_dataset.py reads all."
        yield Finding(f"train_dataloader: {text}", is_error=False)


def class_difference(expected: list, found: list, first: str, second: str) -> str | None:
    """Describe how two lists of class names differ; return None if they are equal."""
    if expected == found:
        return None
    what = []
    for names, others, where in ((expected, found, first), (found, expected, second)):
        if only := [str(name) for name in names if name not in others]:
            more = f" and {len(only) - 5} more" if len(only) > 5 else ""
            what.append(f"{', '.join(only[:5])}{more} only in {where}")
    if not what:
        pairs = enumerate(zip_longest(expected, found))
        i, one, other = next((i, *pair) for i, pair in pairs if pair[0] != pair[1])
        what = [f"class {i} is {one!r} in {first} and {other!r} in {second}"]
    return (
        f"{first} has {len(expected)} classes, {second} has {len(found)}, and they differ: "
        f"{', '.join(what)}. Labels are indices into these lists. Make the class folders or "
        "metainfo.classes equal (an empty class folder counts)."
    )


def heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each head that predicts classes, with its name in the config.

    The region proposal network of a detector, which knows objects alone, is none of them, nor a
    mask head that has one mask for all classes.
    """
    model = unwrap(model)
    for path in _HEADS:
        head: Any = model
        for name in path.split("."):
            head = getattr(head, name, None)
        if isinstance(head, nn.ModuleList):
            yield from ((f"model.{path}.{i}", part) for i, part in enumerate(head))
        elif isinstance(head, nn.Module) and not getattr(head, "class_agnostic", False):
            yield f"model.{path}", head


def output_channels(head: nn.Module) -> int | None:
    """Return the number of channels of a head's logits, None if it is unknown."""
    if hasattr(head, "reg_class_agnostic"):  # mmdet's head of regions adds a background or not
        return None
    number = getattr(head, "cls_out_channels", getattr(head, "out_channels", None))
    return number if isinstance(number, int) else num_classes(head)


def num_classes(part: Any) -> int | None:
    """Return ``num_classes`` of a head, a loss or a preprocessor, None if it has no number."""
    number = getattr(part, "num_classes", None)
    return number if isinstance(number, int) else None


def _classes(dataset: Any) -> list:
    return list((getattr(dataset, "metainfo", None) or {}).get("classes") or ())


def _wrong_numbers(model: nn.Module, dataset: Any, loader: str) -> Iterator[str]:
    classes = _classes(dataset)
    for name, head in heads(model):
        number = num_classes(head)
        if classes and number is not None and number != len(classes):
            yield (
                f"{name}.num_classes={number}, but the {type(dataset).__name__} of {loader} has "
                f"{len(classes)} classes."
            )


def _losses(head: nn.Module) -> Iterator[nn.Module]:
    for name, child in head.named_children():
        if name.startswith("loss"):
            yield from child if isinstance(child, nn.ModuleList) else [child]


def _check_loss(
    name: str, number: int | None, channels: int | None, loss: nn.Module
) -> Iterator[Finding]:
    kind, weights = type(loss).__name__, getattr(loss, "class_weight", None)
    has_softmax = getattr(loss, "use_sigmoid", None) is False
    if channels == 1 and has_softmax and not getattr(loss, "use_mask", False):
        yield Finding(
            f"{name} has one output channel and {kind} with a softmax: the loss is then always 0. "
            "Set out_channels=num_classes=2 (0 background, 1 object), or take a loss with a "
            "sigmoid, e.g. CrossEntropyLoss(use_sigmoid=True)."
        )
    elif weights is not None and channels not in (None, 1) and len(weights) != channels:
        yield Finding(
            f"{name}: class_weight of {kind} has {len(weights)} values, but there are {channels} "
            "classes."
        )
    found = num_classes(loss)
    if None not in (found, number) and found != number:
        yield Finding(f"{name}.num_classes={number}, but its {kind} has num_classes={found}.")
