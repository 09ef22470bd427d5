"""Checkpoints that mmengine itself writes must be readable with `weights_only=True`."""

import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner

import wavemix_mm  # noqa: F401  (the import is what puts the classes on torch's list)


class _Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, *inputs, mode="tensor"):
        output = self.linear(torch.stack(inputs))
        return {"loss": output.square().mean()} if mode == "loss" else [output]


class _NumpyScore(BaseMetric):
    """mmseg's and mmpretrain's metrics give NumPy scalars, which end up in the checkpoint."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {"score": np.float32(0.5)}


def _make_runner(work_dir, **kwargs):
    loader = dict(
        batch_size=2,
        dataset=[torch.rand(2) for _ in range(4)],
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    return Runner(
        model=_Line(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=[_NumpyScore()],
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        param_scheduler=dict(type="LinearLR", start_factor=0.5, by_epoch=True),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", interval=1, save_best="score", rule="greater")
        ),
        # mmengine keeps one Runner for each experiment name.
        experiment_name=f"{work_dir}_{len(kwargs)}",
        **kwargs,
    )


def test_runner_resumes_from_its_own_checkpoint(tmp_path):
    _make_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)).train()

    # What happens to the list when other code (onedl's loader) lends and removes the same names.
    with torch.serialization.safe_globals([np.ndarray, np.dtype, HistoryBuffer]):
        pass
    checkpoint = torch.load(tmp_path / "epoch_1.pth", weights_only=True)
    log = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(log, HistoryBuffer)
    assert log.mean() > 0
    assert checkpoint["message_hub"]["runtime_info"]["best_score"] == np.float32(0.5)

    runner = _make_runner(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        load_from=str(tmp_path / "epoch_1.pth"),
        resume=True,
    )
    runner.train()
    assert runner.epoch == 2
    assert (tmp_path / "epoch_2.pth").is_file()


def _save(tmp_path, value):
    path = tmp_path / "checkpoint.pth"
    torch.save({"value": value}, path)
    return path


class _Attribute:
    """Pickles as a call of getattr, as in a forged checkpoint."""

    def __init__(self, owner, name):
        self.arguments = (owner, name)

    def __reduce__(self):
        return getattr, self.arguments


class _Call:
    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    "forged",
    [_Attribute(HistoryBuffer, "__init__"), _Attribute(np.ndarray, "tofile"), _Call()],
    ids=["other method", "other class", "function call"],
)
def test_forged_checkpoint_is_refused(tmp_path, forged):
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        torch.load(_save(tmp_path, forged), weights_only=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("package", [b"numpy.core.", b"numpy._core."])
def test_numpy_of_either_major_version_is_read(tmp_path, dtype, package):
    array = np.arange(3, dtype=dtype)
    path = tmp_path / "written_elsewhere.pth"
    with (
        zipfile.ZipFile(_save(tmp_path, (array, array[2]))) as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for item in source.infolist():
            content = re.sub(rb"numpy\._?core\.", package, source.read(item))
            target.writestr(item.filename, content)
    loaded, scalar = torch.load(path, weights_only=True)["value"]
    assert loaded.tolist() == [0, 1, 2]
    assert scalar == 2 and scalar.dtype == dtype
