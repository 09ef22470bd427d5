"""Detection and instance segmentation with mmdet.

If mmcv has no compiled operators, the import replaces them by torchvision's. It also registers
`wavemix_mm.CheckedCocoDataset`. Configs name this module in `custom_imports`; programs import it
before mmdet.
"""

from wavemix_mm import connect
from wavemix_mm.host import mmcv_ops
from wavemix_mm.host.environment import check_detection

connect(imported_only=True)
check_detection()
mmcv_ops.install()

from wavemix_mm.datasets import detection  # noqa: E402, F401  (needs mmdet)
