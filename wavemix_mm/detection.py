"""Detection and instance segmentation with mmdet: `custom_imports` of a config names this module.

The import puts torchvision's operators in the place of mmcv's compiled ones if mmcv has none, and
registers `wavemix_mm.CheckedCocoDataset`.
"""

from __future__ import annotations

from importlib.util import find_spec

from wavemix_mm import connect
from wavemix_mm.errors import UserInputError
from wavemix_mm.host import mmcv_ops

connect(imported_only=True)
if find_spec("mmdet") is None:
    # no ImportError: mmengine would replace its message
    raise UserInputError(
        "detection needs mmdet, which is not installed; install it with: "
        "python -m pip install 'onedl-mmdetection>=3.5.1'"
    )
mmcv_ops.install()

from wavemix_mm.datasets import detection  # noqa: E402, F401  (needs mmdet)
