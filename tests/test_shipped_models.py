"""The models that come with the package recognize pictures of what they were trained on."""

import subprocess
import sys
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
from mmseg.apis import inference_model

from wavemix_mm.apis import init_model
from wavemix_mm.web.page import EXAMPLES

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("name", "examples", "classes"),
    [
        ("mnist_8-10", "digit_*", ["3 - three", "7 - seven"]),
        ("cifar10_32-7", "vehicle_*", ["ship", "truck"]),
    ],
)
def test_shipped_classifiers_recognize_their_examples(name, examples, classes):
    classify = mmpretrain.ImageClassificationInferencer(name, device="cpu")
    results = classify(sorted(map(str, EXAMPLES.glob(examples))))
    assert [result["pred_class"] for result in results] == classes


# Train ids of Cityscapes as classes of CamVid, where these have one.
CITYSCAPES_TO_CAMVID = {0: 3, 1: 4, 2: 1, 3: 1, 4: 7, 5: 2, 6: 6, 7: 6, 8: 5, 9: 5, 10: 0, 11: 9,
                        12: 10, 13: 8, 14: 8, 15: 8, 16: 8, 17: 10, 18: 10}  # fmt: skip


@pytest.mark.parametrize("name", ["camvid_64-6", "camvid_best"])
def test_shipped_segmentors_find_their_way_in_drawn_streets(name, tmp_path):
    """Scenes that look little like photographs; the most frequent class alone gets under a half."""
    tool = ROOT / "tools" / "dataset_converters" / "synthetic_cityscapes.py"
    size = ["--height", "352", "--width", "480", "--train", "3", "--val", "3"]
    subprocess.run([sys.executable, tool, tmp_path, *size], check=True, capture_output=True)
    model = init_model(f"configs/wavemix/{name}.py", f"wavemix_mm://{name}", "cpu")
    assert model.dataset_meta["classes"][3] == "road"
    to_camvid = np.full(256, 255, np.uint8)
    to_camvid[list(CITYSCAPES_TO_CAMVID)] = list(CITYSCAPES_TO_CAMVID.values())
    truths, predictions = [], []
    for image in sorted((tmp_path / "leftImg8bit").glob("*/*/*.png")):
        file = image.name.replace("leftImg8bit", "gtFine_labelTrainIds")
        label = str(image.parent / file).replace("leftImg8bit", "gtFine")
        truths.append(to_camvid[cv2.imread(label, cv2.IMREAD_UNCHANGED)])
        predictions.append(inference_model(model, str(image)).pred_sem_seg.data[0].numpy())
    truth, prediction = np.stack(truths), np.stack(predictions)
    counted = truth < 11
    frequent = np.bincount(truth[counted]).max() / counted.sum()
    assert (prediction == truth)[counted].mean() > 0.58 > 1.2 * frequent
    for known in ("sky", "road"):
        pixels = truth == model.dataset_meta["classes"].index(known)
        assert (prediction == truth)[pixels].mean() > 0.5, known
