"""Training checkpoints of mmengine are read as plain values, forged ones are refused."""

import os
import re
import zipfile

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.errors import UserInputError


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
    written = _make_runner(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1))
    written.train()
    checkpoint = read_checkpoint(str(tmp_path / "epoch_1.pth"))
    log = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert type(log) is HistoryBuffer
    expected = written.message_hub.get_scalar("train/loss")
    assert log.data[0].tolist() == expected.data[0].tolist() and len(log.data[0]) == 2
    assert log.data[1].tolist() == [1, 1] and log.mean() == expected.mean() > 0
    best = checkpoint["message_hub"]["runtime_info"]["best_score"]
    assert best == np.float32(0.5) and type(best) is np.float32

    runner = _make_runner(
        tmp_path,
        train_cfg=dict(by_epoch=True, max_epochs=2),
        load_from=str(tmp_path / "epoch_1.pth"),
        resume=True,
    )
    runner.train()
    assert runner.epoch == 2
    # what was read can be written and read once more
    second = read_checkpoint(str(tmp_path / "epoch_2.pth"))
    assert len(second["message_hub"]["log_scalars"]["train/loss"].data[0]) == 4


def _save(tmp_path, value):
    path = tmp_path / "checkpoint.pth"
    torch.save({"optimizer": value}, path)  # where text may stand
    return path


class _Call:
    """Pickles as the call of a function, as in a forged checkpoint; maybe with a state to set."""

    def __init__(self, function, *arguments, state=None):
        self.value = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.value


_NONE = (None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    "forged",
    [
        _Call(getattr, HistoryBuffer, "__init__"),
        _Call(getattr, np.ndarray, "tofile"),
        _Call(os.system, "true"),
        _Call(np.dtype, "O"),
        _Call(np.dtype, "V8"),
        _Call(np.dtype, "f8", state=(3, "|", None, ("a",), {"a": 1}, 8, 8, 63)),
        np.array([object]),
        np.array([(1, 2)], dtype="i4,i4"),
        _Call(
            np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b",
            state=(1, (1 << 40,), np.dtype("f8"), False, b"12345678"),
        ),
        _Call(
            np.zeros(0).__reduce__()[0], np.ndarray, (0,), b"b",
            state=(1, (-1,), np.dtype("f8"), False, b"12345678"),
        ),
        _Call(np.float64(0).__reduce__()[0], np.dtype("f8"), b"1234"),
        _Call(np.zeros(0).__reduce__()[0], HistoryBuffer, (0,), b"b"),
    ],
    ids=[
        "other method", "other class", "function call", "objects", "void", "fields", "object array",
        "structured array", "too large", "negative", "short scalar", "not an array",
    ],
)  # fmt: skip
def test_forged_checkpoint_is_refused(tmp_path, forged):
    with pytest.raises(UserInputError, match=r"checkpoint\.pth cannot be read"):
        read_checkpoint(str(_save(tmp_path, forged)))


def test_a_forged_log_changes_no_class(tmp_path, monkeypatch):
    """mmengine's own __setstate__ puts the file's functions into a dict that all logs share."""
    log = HistoryBuffer([1.0, 3.0], [1, 1])
    forged = log.__dict__ | {"statistics_methods": {"mean": HistoryBuffer.max}}
    with monkeypatch.context() as patch:
        patch.setattr(HistoryBuffer, "__getstate__", lambda self: dict(forged))
        path = _save(tmp_path, log)
    loaded = read_checkpoint(str(path))["optimizer"]
    assert loaded.statistics("mean") == 2.0
    assert torch.load(path, weights_only=False)["optimizer"].statistics("mean") == 3.0  # the danger
    HistoryBuffer._statistics_methods["mean"] = HistoryBuffer.mean


def test_shared_and_nested_containers(tmp_path):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    shared = {"array": array.T}
    loaded = read_checkpoint(str(_save(tmp_path, [(shared, 1), {"a": [shared]}])))["optimizer"]
    assert loaded[0][0] is loaded[1]["a"][0]
    np.testing.assert_array_equal(loaded[0][0]["array"], array.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, bool, "<U5", ">f4"])
@pytest.mark.parametrize("package", [b"numpy.core.", b"numpy._core."])
def test_numpy_of_either_major_version_is_read(tmp_path, dtype, package):
    array = np.arange(3).astype(dtype)
    path = tmp_path / "written_elsewhere.pth"
    with (
        zipfile.ZipFile(_save(tmp_path, (array, array[2]))) as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for item in source.infolist():
            content = re.sub(rb"numpy\._?core\.", package, source.read(item))
            target.writestr(item.filename, content)
    loaded, scalar = read_checkpoint(str(path))["optimizer"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype and loaded.flags.writeable
    assert scalar == array[2]
    assert type(scalar) is (str if dtype == "<U5" else type(array[2]))
