"""A batch on the meta device shows what does not fit together."""

import importlib
import random

import numpy as np
import pytest
import torch
from test_config_check import Data, texts

from wavemix_mm.engine.run.dry_run import build, is_local, same_random_state
from wavemix_mm.errors import BadSampleError


class Images(Data):
    """A dataset whose samples are (channels, height, width) images, or raise an error."""

    def __init__(self, shape=None, error=None):
        super().__init__(ignore_index=11)
        self.shape, self.error = shape, error

    def __getitem__(self, index):
        if self.error:
            raise self.error
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        label = PixelData(data=torch.zeros(1, *self.shape[1:], dtype=torch.uint8))
        image = torch.zeros(self.shape, dtype=torch.uint8)
        return dict(inputs=image, data_samples=SegDataSample(gt_sem_seg=label))


@pytest.mark.parametrize(
    ("options", "shape", "expected"),
    [
        ({"model.decode_head.in_channels": 32}, (3, 320, 320), "model.decode_head cannot take 4 "
         "images of 3x320x320 (channels, height, width): ValueError: in_channels=32, but it gets "
         "64 channels."),
        ({}, (4, 320, 320), "train_dataloader: the first sample makes no batch: "),
        ({"model.data_preprocessor.size": (16, 12)}, (3, 16, 12),
         "model.backbone.blocks.0 has levels=(1, 2, 3), but its maps are only 4x3: after level "),
    ],
)  # fmt: skip
def test_shapes_of_the_first_sample(options, shape, expected):
    (text,) = texts(options, train=Images(shape))
    assert text.startswith(expected)


def test_levels_that_the_images_just_allow():
    assert texts({"model.data_preprocessor.size": (8, 20)}, train=Images((3, 8, 20))) == []


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_error_of_the_first_sample(name):
    datasets = dict(train=Images((3, 320, 320))) | {name: Images(error=OSError("no disk"))}
    (text,) = texts({}, **datasets)
    assert text == f"{name}_dataloader: the first sample makes no batch: OSError: no disk."
    datasets[name].error = BadSampleError("a.png is empty.")
    assert texts({}, **datasets) == []


def test_validation_without_the_last_step_of_its_pipeline():
    class Unpacked(Images):
        def __getitem__(self, index):
            return dict(img=np.zeros((9, 9, 3)), img_path="a.png")

    (text,) = texts({}, train=Images((3, 320, 320)), val=Unpacked())
    assert (
        text
        == "val_dataloader: the first sample makes no batch: KeyError: the key 'inputs' is missing."
    )


def test_remote_data_is_not_read():
    step = dict(type="LoadImageFromFile", backend_args=dict(backend="lmdb", db_path="a"))
    dataset = dict(type="Some", dataset=dict(pipeline=[step]))
    assert not is_local(dict(dataset=dataset))
    step["backend_args"] = dict(backend="local")
    assert is_local(dict(dataset=dataset))
    for name in ("train", "val"):
        options = {f"{name}_dataloader.dataset.pipeline.0.backend_args": dict(backend="lmdb")}
        assert texts(options, **{name: Images(error=OSError("no disk"))}) == []


def test_modules_are_imported_outside_of_the_meta_device(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "import torch\nCONSTANT = torch.ones(2)\nclass Net(torch.nn.Linear): ..."
    (tmp_path / "constants_of_a_test.py").write_text(code)
    net = build(dict(type="constants_of_a_test.Net", in_features=1, out_features=1))
    assert net.weight.is_meta
    assert importlib.import_module("constants_of_a_test").CONSTANT.device.type == "cpu"


def test_random_state_is_kept():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    with same_random_state():
        inside = draw()
    assert draw() == inside
