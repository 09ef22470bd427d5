"""Training checkpoints of mmengine are read as plain values, forged ones are refused."""

import os
import re
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from tiny_run import config, train

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.errors import UserInputError


def test_runner_resumes_from_its_own_checkpoint(tmp_path):
    options = dict(
        hook=dict(type="CheckpointHook", save_best="tiny/score", rule="greater"),
        scores=[np.float32(0.5)] * 2,  # as mmseg's and mmpretrain's metrics
        param_scheduler=dict(type="LinearLR", start_factor=0.5, by_epoch=True),
    )
    written = train(config(tmp_path, max_epochs=1, **options))
    first = str(tmp_path / "epoch_1.pth")
    checkpoint = read_checkpoint(first)
    log = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    expected = written.message_hub.get_scalar("train/loss")
    assert type(log) is HistoryBuffer and log.mean() == expected.mean() > 0
    assert [part.tolist() for part in log.data] == [part.tolist() for part in expected.data]
    best = checkpoint["message_hub"]["runtime_info"]["best_score"]
    assert best == np.float32(0.5) and type(best) is np.float32
    assert train(config(tmp_path, max_epochs=2, load_from=first, resume=True, **options)).epoch == 2
    # what was read can be written and read once more
    second = read_checkpoint(str(tmp_path / "epoch_2.pth"))
    assert len(second["message_hub"]["log_scalars"]["train/loss"].data[0]) == 8


def save(tmp_path, value):
    path = tmp_path / "checkpoint.pth"
    torch.save({"optimizer": value}, path)  # where text may stand
    return path


class Call:
    """Pickles as the call of a function, as in a forged checkpoint; maybe with a state to set."""

    def __init__(self, function, *arguments, state=None):
        self.value = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.value


TEXT_LOG = HistoryBuffer([1.0], [1])
TEXT_LOG._log_history = np.array(["text"])
ARRAY, SCALAR = np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]
FORGED = {
    "other method": Call(getattr, HistoryBuffer, "__init__"),
    "other class": Call(getattr, np.ndarray, "tofile"),
    "function call": Call(os.system, "true"),
    "objects": Call(np.dtype, "O"),
    "void": Call(np.dtype, "V8"),
    "fields": Call(np.dtype, "f8", state=(3, "|", None, ("a",), {"a": 1}, 8, 8, 63)),
    "object array": np.array([object]),
    "structured array": np.array([(1, 2)], dtype="i4,i4"),
    "too large": Call(ARRAY, np.ndarray, (0,), b"b",
        state=(1, (1 << 40,), np.dtype("f8"), False, b"12345678")),
    "overflow": Call(ARRAY, np.ndarray, (0,), b"b",
        state=(1, (1 << 60, 1 << 60), np.dtype("f8"), False, b"12345678")),
    "too small": Call(ARRAY, np.ndarray, (0,), b"b",
        state=(1, (1,), np.dtype("f4"), False, b"12345678")),
    "negative": Call(ARRAY, np.ndarray, (0,), b"b",
        state=(1, (-1,), np.dtype("f8"), False, b"12345678")),
    "text as a dtype": Call(ARRAY, np.ndarray, (0,), b"b",
        state=(1, (1,), "O", False, b"12345678")),
    "short scalar": Call(SCALAR, np.dtype("f8"), b"1234"),
    "text as a scalar's dtype": Call(SCALAR, "O", b"12345678"),
    "not an array": Call(ARRAY, HistoryBuffer, (0,), b"b"),
    "class": HistoryBuffer,
    "log of text": TEXT_LOG,
}  # fmt: skip


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_checkpoint_is_refused(tmp_path, forged):
    with pytest.raises(UserInputError, match=r"checkpoint\.pth cannot be read"):
        read_checkpoint(str(save(tmp_path, forged)))


def test_a_forged_log_changes_no_class(tmp_path, monkeypatch):
    """mmengine's own __setstate__ puts the file's functions into a dict that all logs share."""
    log = HistoryBuffer([1.0, 3.0], [1, 1])
    forged = log.__dict__ | {"statistics_methods": {"mean": HistoryBuffer.max}}
    with monkeypatch.context() as patch:
        patch.setattr(HistoryBuffer, "__getstate__", lambda self: dict(forged))
        path = save(tmp_path, log)
    loaded = read_checkpoint(str(path))["optimizer"]
    assert loaded.statistics("mean") == 2.0
    assert torch.load(path, weights_only=False)["optimizer"].statistics("mean") == 3.0  # the danger
    HistoryBuffer._statistics_methods["mean"] = HistoryBuffer.mean


def test_shared_and_nested_containers(tmp_path):
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    shared = {"array": array.T}
    plain = [(1, 2.5, True, None, b"a", {1, "b"}), torch.Size([2, 3]), torch.bfloat16]
    loaded = read_checkpoint(str(save(tmp_path, [(shared, 1), {"a": [shared]}, plain])))[
        "optimizer"
    ]
    assert loaded[0][0] is loaded[1]["a"][0] and loaded[2] == plain
    np.testing.assert_array_equal(loaded[0][0]["array"], array.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, bool, "<U5", ">f4"])
@pytest.mark.parametrize("package", [b"numpy.core.", b"numpy._core."])
def test_numpy_of_either_major_version_is_read(tmp_path, dtype, package):
    array = np.arange(3).astype(dtype)
    path = tmp_path / "written_elsewhere.pth"
    with (
        zipfile.ZipFile(save(tmp_path, (array, array[2]))) as source,
        zipfile.ZipFile(path, "w") as target,
    ):
        for item in source.infolist():
            content = re.sub(rb"numpy\._?core\.", package, source.read(item))
            target.writestr(item.filename, content)
    loaded, scalar = read_checkpoint(str(path))["optimizer"]
    np.testing.assert_array_equal(loaded, array)
    # NumPy brings the bytes into the machine's order
    assert loaded.dtype == array.dtype.newbyteorder("=") and loaded.flags.writeable
    assert scalar == array[2]
    assert type(scalar) is (str if dtype == "<U5" else type(array[2]))
