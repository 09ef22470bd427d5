"""Accuracy of an exported file on a config's test set."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Number
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from wavemix_mm.deployment.detectors import regroup
from wavemix_mm.deployment.graph import Graph
from wavemix_mm.deployment.runtimes import Run
from wavemix_mm.engine.messages import building


def evaluate(
    cfg: Config,
    model: nn.Module,
    number: int | None = None,
    on_step: Callable[[float], object] = lambda fraction: None,
) -> dict[str, float]:
    """Return the metrics of a model on its config's test set.

    Args:
        cfg: The config.
        model: The model; its `test_step` is called.
        number: Number of images to test, from the first; None for all.
        on_step: Receives the finished fraction.

    Raises:
        UserInputError: If the data set or the metric cannot be built.
    """
    loader = copy.deepcopy(cfg.test_dataloader)
    loader.update(num_workers=0, persistent_workers=False)
    if number is not None:
        loader.dataset.indices = number
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        with building("test_dataloader or test_evaluator cannot be built"):
            batches = Runner.build_dataloader(loader)
            evaluator = Evaluator(copy.deepcopy(cfg.test_evaluator))
        dataset: Any = batches.dataset
        evaluator.dataset_meta = dataset.metainfo
        for done, batch in enumerate(batches, start=1):
            evaluator.process(data_samples=model.test_step(batch), data_batch=batch)
            on_step(done / len(batches))
        metrics = evaluator.evaluate(len(dataset))
    return {key: float(value) for key, value in metrics.items() if isinstance(value, Number)}


def with_network(model: nn.Module, graph: Graph, run: Run) -> nn.Module:
    """Return a copy of a model that computes by an exported file, `run`, of its `graph`."""

    def forward(images: Tensor) -> Any:
        outputs = run(graph.normalize.undo(images) if graph.preprocess else images)
        return regroup(outputs, graph.output_names) if graph.task == "detection" else outputs

    changed: Any = copy.deepcopy(model)
    names = dict(segmentation="decode_head", classification="head", detection="bbox_head")
    head = getattr(changed, names[graph.task])
    changed.extract_feat = lambda images, **_: images
    head.forward = forward
    return changed
