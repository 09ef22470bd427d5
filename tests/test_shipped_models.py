"""The models that come with the package recognize pictures of what they were trained on."""

import subprocess
import sys
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
from mmseg.apis import inference_model

from wavemix_mm.apis import init_model

ROOT = Path(__file__).resolve().parents[1]


def test_shipped_digits_are_recognized():
    """Digits drawn in four fonts, white on black as in MNIST; guessing gets 4 of 40."""
    classify = mmpretrain.ImageClassificationInferencer("mnist_8-10", device="cpu")
    fonts = (
        cv2.FONT_HERSHEY_SIMPLEX,
        cv2.FONT_HERSHEY_DUPLEX,
        cv2.FONT_HERSHEY_COMPLEX,
        cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    )
    images = []
    for font in fonts:
        for digit in range(10):
            (width, height), _ = cv2.getTextSize(str(digit), font, 2.6, 8)
            origin = (112 - width) // 2, (112 + height) // 2
            image = np.zeros((112, 112, 3), np.uint8)
            cv2.putText(image, str(digit), origin, font, 2.6, (255,) * 3, 8, cv2.LINE_AA)
            images.append(cv2.resize(image, (28, 28), interpolation=cv2.INTER_AREA))
    results = classify(images, batch_size=40)
    right = sum(result["pred_label"] == i % 10 for i, result in enumerate(results))
    assert right >= 30


def polygon(image, points, color):
    cv2.fillPoly(image, [np.array(points)], color)


def scene(sky, ground, horizon):
    """Sky over ground, 128x128, in BGR."""
    image = np.full((128, 128, 3), sky, np.uint8)
    image[int(128 * horizon) :] = ground
    return image


def draw_ship():
    image = scene(sky=(235, 215, 190), ground=(150, 100, 50), horizon=0.62)
    polygon(image, [(14, 66), (114, 66), (100, 86), (28, 86)], (60, 60, 70))
    cv2.rectangle(image, (44, 46), (84, 66), (240,) * 3, -1)
    cv2.rectangle(image, (58, 28), (66, 46), (40, 40, 160), -1)
    return image


def draw_automobile():
    image = scene(sky=(210, 210, 205), ground=(110,) * 3, horizon=0.66)
    cv2.rectangle(image, (12, 60), (116, 88), (30, 30, 200), -1)
    polygon(image, [(34, 60), (44, 40), (84, 40), (98, 60)], (30, 30, 200))
    polygon(image, [(40, 58), (48, 44), (80, 44), (90, 58)], (70, 60, 50))
    for x in (36, 92):
        cv2.circle(image, (x, 88), 12, (20,) * 3, -1)
        cv2.circle(image, (x, 88), 5, (170,) * 3, -1)
    return image


def test_shipped_vehicles_are_recognized():
    """Drawn vehicles, shifted and mirrored; guessing gets 2 of 20."""
    images, names = [], []
    for name, image in dict(ship=draw_ship(), automobile=draw_automobile()).items():
        for dx, dy in ((0, 0), (5, 3), (-5, 3), (4, -4), (-4, -4)):
            shift = np.float32([[1, 0, dx], [0, 1, dy]])
            moved = cv2.warpAffine(image, shift, (128, 128), borderMode=cv2.BORDER_REPLICATE)
            for picture in (moved, moved[:, ::-1]):
                images.append(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA))
                names.append(name)
    classify = mmpretrain.ImageClassificationInferencer("cifar10_32-7", device="cpu")
    results = classify(images, batch_size=20)
    right = sum(result["pred_class"] == name for result, name in zip(results, names, strict=True))
    assert right >= 15


# Train ids of Cityscapes as classes of CamVid, where these have one.
CITYSCAPES_TO_CAMVID = {0: 3, 1: 4, 2: 1, 3: 1, 4: 7, 5: 2, 6: 6, 7: 6, 8: 5, 9: 5, 10: 0, 11: 9,
                        12: 10, 13: 8, 14: 8, 15: 8, 16: 8, 17: 10, 18: 10}  # fmt: skip


def test_shipped_segmentor_finds_its_way_in_drawn_streets(tmp_path):
    """Scenes that look little like photographs; the most frequent class alone gets under a half."""
    tool = ROOT / "tools" / "dataset_converters" / "synthetic_cityscapes.py"
    size = ["--height", "352", "--width", "480", "--train", "3", "--val", "3"]
    subprocess.run([sys.executable, tool, tmp_path, *size], check=True, capture_output=True)
    model = init_model(
        ROOT / "configs" / "wavemix" / "camvid_best.py", "wavemix_mm://camvid_best", "cpu"
    )
    assert model.dataset_meta["classes"][3] == "road"
    to_camvid = np.full(256, 255, np.uint8)
    to_camvid[list(CITYSCAPES_TO_CAMVID)] = list(CITYSCAPES_TO_CAMVID.values())
    truths, predictions = [], []
    for image in sorted((tmp_path / "leftImg8bit").glob("*/*/*.png")):
        name = image.name.replace("leftImg8bit", "gtFine_labelTrainIds")
        label = str(image.parent / name).replace("leftImg8bit", "gtFine")
        truths.append(to_camvid[cv2.imread(label, cv2.IMREAD_UNCHANGED)])
        predictions.append(inference_model(model, str(image)).pred_sem_seg.data[0].numpy())
    truth, prediction = np.stack(truths), np.stack(predictions)
    known = truth < 11
    frequent = np.bincount(truth[known]).max() / known.sum()
    assert (prediction == truth)[known].mean() > 0.58 > 1.2 * frequent
    for name in ("sky", "road"):
        pixels = truth == model.dataset_meta["classes"].index(name)
        assert (prediction == truth)[pixels].mean() > 0.5, name
