"""Detection and instance segmentation with mmdet: `custom_imports` of a config names this module.

The import puts torchvision's operators in the place of mmcv's if mmcv has no compiled ones, and
registers `wavemix_mm.CheckedCocoDataset`. A program imports this module before it imports mmdet.
"""

from wavemix_mm import connect
from wavemix_mm.host import mmcv_ops
from wavemix_mm.host.environment import check_detection

connect(imported_only=True)
check_detection()
mmcv_ops.install()

from wavemix_mm.datasets import detection  # noqa: E402, F401  (needs mmdet)
