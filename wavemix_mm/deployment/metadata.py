"""Metadata of an exported model, written into its file."""

from __future__ import annotations

import json
from typing import Any

from mmengine.config import Config
from torch import nn

from wavemix_mm.deployment.detectors import describe_boxes
from wavemix_mm.deployment.graph import Graph
from wavemix_mm.inference.predicting import dataset_meta, test_steps
from wavemix_mm.registry import type_name
from wavemix_mm.version import __version__

# Steps of a test pipeline that change the size of an image.
_SIZE_STEPS = ("Resize", "CenterCrop", "Pad")
_HIDDEN = ("_scope_", "type")


def describe(graph: Graph, model: nn.Module, cfg: Config, name: str) -> dict[str, str]:
    """Return the metadata of a model. Values that are no text are JSON.

    Args:
        graph: The exported graph.
        model: Its model, of `wavemix_mm.apis.init_model`.
        cfg: Its config.
        name: Name of the model.

    Returns:
        name: As given.
        task: 'segmentation', 'classification' or 'detection'.
        version: Version of wavemix_mm.
        classes: List of names.
        palette: List of RGB colors, for a segmentor and a detector.
        input: Format of the images.
        channel_order: 'RGB', 'BGR' or 'gray': order of normalized images.
        mean, std: For 8-bit values, in the order of the channels.
        size_rule: Steps of the test pipeline that change the size, in order.
        least_side: Least height and width of images.

        For a detector, also the values of `detectors.describe_boxes`.
    """
    meta = dataset_meta(model)
    normalize = graph.normalize
    values: dict[str, Any] = {
        "name": name,
        "task": graph.task,
        "version": __version__,
        "classes": list(meta.get("classes") or ()),
        "input": "uint8 NHWC, RGB or gray" if graph.preprocess else "float32 NCHW, normalized",
        "channel_order": normalize.order,
        "mean": [round(value, 4) for value in normalize.mean.flatten().tolist()],
        "std": [round(value, 4) for value in normalize.std.flatten().tolist()],
        "size_rule": size_rule(cfg),
        "least_side": graph.least_side,
    }
    if graph.task != "classification":
        values["palette"] = [list(color) for color in meta.get("palette") or ()]
    if graph.task == "detection":
        values |= describe_boxes(model)
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }


def size_rule(cfg: Config) -> list[dict[str, Any]]:
    """Return the steps of a config's test pipeline that change an image's size."""
    return [
        {"step": type_name(step)} | {k: v for k, v in step.items() if k not in _HIDDEN}
        for step in test_steps(cfg)
        if type_name(step).startswith(_SIZE_STEPS)
    ]
