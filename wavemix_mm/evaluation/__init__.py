from wavemix_mm.evaluation.per_class_iou_metric import PerClassIoUMetric

__all__ = ["PerClassIoUMetric"]
