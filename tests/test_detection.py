"""`import wavemix_mm.detection`, and models of mmdet's own configs on the operators at hand."""

import copy
import sys

import pytest
import torch

pytest.importorskip("mmdet", reason="mmdet is not installed")
import wavemix_mm.detection  # noqa: E402, F401, I001  (before mmdet)
from mmdet.models import ATSS  # noqa: E402, F401
from mmdet.registry import MODELS  # noqa: E402
from mmdet.testing import demo_mm_inputs  # noqa: E402
from mmengine.hub import get_config  # noqa: E402
from mmengine.logging import MessageHub  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from wavemix_mm.engine.messages import error_message  # noqa: E402
from wavemix_mm.engine.run.config import load_config  # noqa: E402
from wavemix_mm.errors import UserInputError  # noqa: E402
from wavemix_mm.host import environment  # noqa: E402

# Configs whose models call different operators.
CONFIGS = [
    "retinanet/retinanet_r50_fpn_1x_coco",
    "tood/tood_r50_fpn_1x_coco",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco",
    "mask2former/mask2former_r50_8xb2-lsj-50e_coco",
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco",
    "dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco",
]
STAGES = {256: 32, 512: 64, 1024: 128, 2048: 256}  # channels of ResNet-50 -> of a narrow one
WIDTHS = ("in_channels", "out_channels", "feat_channels", "fc_out_channels", "conv_out_channels",
          "embed_dims", "feedforward_channels", "num_feats", "num_queries", "nms_pre",
          "num_points")  # fmt: skip


def _shrink(node):
    """Narrow a model in place: fewer channels, queries and layers, the same parts."""
    for key, value in list(node.items()) if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict | list | tuple):
            if key == "in_channels":
                node[key] = [STAGES.get(width, width) for width in value]
            else:
                _shrink(value)
        elif key in WIDTHS and value > 64:
            node[key] = 16 if key == "num_feats" else 32
        elif key == "num_layers" and value > 3:
            node[key] = 1


def _build(config):
    model = get_config(f"mmdet::{config}.py").model
    _shrink(model)
    model.backbone.init_cfg = None
    if model.backbone.type == "ResNet":
        model.backbone.base_channels = 8
    if "DETR" in model.type:
        model.bbox_head.embed_dims = 32
    model.data_preprocessor.batch_augments = None  # it may pad to 1024x1024
    detector = MODELS.build(model)
    detector.init_weights()  # some parameters are made without values
    return detector


@pytest.mark.parametrize("config", CONFIGS)
def test_a_stock_model_trains_a_step_and_predicts(config):
    init_default_scope("mmdet")
    model = _build(config)
    MessageHub.get_current_instance().update_info("epoch", 0)  # TOOD reads it
    batch = demo_mm_inputs(2, (3, 64, 64), num_items=[2, 2], with_mask=True)
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-6))
    losses = model.train_step(copy.deepcopy(batch), optimizer)
    assert losses["loss"].isfinite() and losses["loss"] > 0
    prediction = model.eval().test_step(batch)[0].pred_instances
    assert prediction.bboxes.shape == (len(prediction.scores), 4)


CUSTOM = "custom_imports = dict(imports=['wavemix_mm.detection'], allow_failed_imports=False)"


@pytest.mark.parametrize("line", ["_base_ = 'mmdet::_base_/default_runtime.py'", CUSTOM])
def test_a_config_says_how_to_install_mmdet(line, tmp_path, monkeypatch):
    path = tmp_path / "a.py"
    path.write_text(line)
    load_config(str(path))
    monkeypatch.delitem(sys.modules, "wavemix_mm.detection")
    monkeypatch.setattr(environment, "_is_found", lambda module: module != "mmdet")
    with pytest.raises(
        UserInputError, match=r"cannot be read: detection needs mmdet, .*: .* -m pip"
    ):
        load_config(str(path))


def test_a_config_without_the_import_says_so():
    error = ModuleNotFoundError("No module named 'mmcv._ext'")
    assert CUSTOM in error_message(error)
