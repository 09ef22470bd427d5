"""mmseg's inference APIs with our configs, from a Python session that never imports wavemix_mm."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import json, sys
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot

config, checkpoint, image, out = sys.argv[1:]
model = init_model(config, checkpoint, device="cpu")
result = inference_model(model, image)
show_result_pyplot(model, image, result, show=False, out_file=out)
inferencer = MMSegInferencer(config, checkpoint, device="cpu")
labels = result.pred_sem_seg.data[0].numpy()
print(json.dumps(dict(
    shape=labels.shape,
    equal=bool((inferencer(image, show=False)["predictions"] == labels).all()),
    classes=list(model.dataset_meta["classes"]),
    labels=labels.tolist(),
)))
"""


@pytest.fixture
def files(tmp_path):
    """A tiny variant of the CamVid config, a checkpoint with random weights, an image."""
    from mmengine.config import Config
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    from wavemix_mm.datasets.camvid import CamVidDataset

    config = tmp_path / "tiny.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs/wavemix/camvid.py')!r}\n"
        "model = dict(backbone=dict(embed_dims=8, depth=1, levels=2),\n"
        "             decode_head=dict(in_channels=8, mid_channels=4, channels=4))\n"
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(Config.fromfile(config).model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    checkpoint = tmp_path / "tiny.pth"
    meta = {"dataset_meta": CamVidDataset.METAINFO}  # as a checkpoint of a training run has it
    torch.save({"state_dict": model.state_dict(), "meta": meta}, checkpoint)
    image = tmp_path / "street.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8))
    return config, checkpoint, image


def test_apis(files, tmp_path):
    painted = tmp_path / "painted.png"
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, files), str(painted)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    assert answer["shape"] == [45, 60]  # the image's own size, not the config's
    assert answer["equal"]
    assert len(answer["classes"]) == 11 and answer["classes"][3] == "road"
    labels = np.array(answer["labels"])
    assert labels.min() >= 0 and labels.max() <= 10 and len(np.unique(labels)) > 1
    assert cv2.imread(str(painted)) is not None
