"""mmseg's IoUMetric, with the IoU of each class among what it returns."""

from __future__ import annotations

from mmseg.evaluation import IoUMetric

from wavemix_mm.registry import METRICS


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """IoUMetric that also returns ``IoU.<class>``, which mmseg only prints in a table.

    In percent, rounded to two digits as there; nan for a class that neither the labels nor the
    predictions hold, unless ``nan_to_num`` says otherwise.

    The arguments are those of IoUMetric.

    Example:
        >>> test_evaluator = dict(type='wavemix_mm.PerClassIoUMetric', ignore_index=11)
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from the areas of each image; see IoUMetric."""
        metrics = super().compute_metrics(results)
        if self.format_only:
            return metrics
        areas = [sum(parts) for parts in zip(*results, strict=True)]
        values = self.total_area_to_metrics(*areas, nan_to_num=self.nan_to_num)["IoU"]
        for name, value in zip(self.dataset_meta["classes"], values, strict=True):
            metrics[f"IoU.{name}"] = round(100 * float(value), 2)
        return metrics
