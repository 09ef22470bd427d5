"""Pictures of predictions during validation, through the visualizers of both toolboxes."""

import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from wavemix_mm.engine.hooks import ValidationPicturesHook
from wavemix_mm.errors import UserInputError

BATCHES = 10
SIZE = (24, 40)


@pytest.fixture
def run(tmp_path):
    """A function that validates, at some iterations of 100; returns the names of the pictures."""

    def run(hook, kind=SegLocalVisualizer, iterations=(100,), batch=None, outputs=()):
        visualizer = kind(vis_backends=[dict(type="LocalVisBackend")], save_dir=str(tmp_path))
        visualizer.dataset_meta = dict(classes=["a", "b"], palette=[[0, 0, 0], [0, 0, 255]])
        loader = SimpleNamespace(dataloader=range(BATCHES))
        runner = SimpleNamespace(
            visualizer=visualizer, max_iters=100, val_loop=loader, logger=logging.getLogger()
        )
        for runner.iter in iterations:
            hook.before_val_epoch(runner)
            for i in range(BATCHES):
                hook.after_val_iter(runner, i, batch, outputs(i) if callable(outputs) else outputs)
        folder = tmp_path / "vis_data" / "vis_image"
        return sorted(path.name for path in folder.glob("*"))

    return run


@pytest.fixture
def segmentation(tmp_path):
    """A function from the index of a batch to its samples."""
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((*SIZE, 3), 100, np.uint8))
    labels = torch.zeros(1, *SIZE, dtype=torch.long)
    labels[..., SIZE[1] // 2 :] = 1
    sample = SegDataSample(
        pred_sem_seg=PixelData(data=labels), gt_sem_seg=PixelData(data=labels * 0)
    )

    def samples(index):
        file = tmp_path / f"{index}.jpg"
        file.write_bytes((tmp_path / "gray.png").read_bytes())
        sample.set_metainfo(dict(img_path=str(file)))
        return [sample]

    return samples


def test_segmentation(run, segmentation, tmp_path):
    names = run(ValidationPicturesHook(number=2), outputs=segmentation)
    assert names == ["val_2.jpg_100.png", "val_7.jpg_100.png"]
    picture = cv2.imread(str(tmp_path / "vis_data/vis_image" / names[0]))
    assert picture.shape == (SIZE[0], 3 * SIZE[1], 3)
    image, truth, prediction = np.split(picture, 3, axis=1)
    assert (image == 100).all() and (truth == 50).all() and (prediction[:, :20] == 50).all()
    assert (prediction[:, 20:] == (178, 50, 50)).all()  # class b is blue


def test_classification(run, tmp_path):
    batch = dict(inputs=torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    batch["inputs"][:, 0] = 200  # blue in BGR
    sample = DataSample().set_pred_score(torch.tensor([0.1, 0.9])).set_pred_label(1)
    (name,) = run(ValidationPicturesHook(number=1), UniversalVisualizer, batch=batch,
                  outputs=[sample, sample])  # fmt: skip
    assert name == "val_5.png_100.png"
    assert cv2.imread(str(tmp_path / "vis_data/vis_image" / name))[-1, -1].tolist() == [200, 0, 0]


def test_some_validations_of_a_run_draw(run, segmentation):
    hook = ValidationPicturesHook(number=1, times=4)
    names = run(hook, iterations=range(10, 101, 10), outputs=segmentation)
    assert {int(name[:-4].rpartition("_")[2]) for name in names} == {10, 30, 50, 80, 100}
    assert run(ValidationPicturesHook(number=0), iterations=[99], outputs=segmentation) == names


def test_a_picture_that_cannot_be_drawn_is_reported_once(run, caplog):
    assert run(ValidationPicturesHook(), outputs=[SegDataSample()], iterations=(50, 100)) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("No picture of a prediction can be drawn: ")


@pytest.mark.parametrize("arguments", [dict(number=-1), dict(times=0)], ids=str)
def test_arguments(arguments):
    with pytest.raises(UserInputError, match="is not an integer of at least"):
        ValidationPicturesHook(**arguments)
