"""Weights as safetensors, read by mmengine itself."""

import hashlib
import json

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file
from torch import nn

from wavemix_mm.engine.checkpoints.loading import read_checkpoint, read_state_dict
from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
from wavemix_mm.errors import UserInputError


def make_net():
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def test_mmengine_loads_what_was_written(tmp_path, randomize_norms):
    source, target = make_net(), make_net()
    randomize_norms(source)
    file = tmp_path / "new folder" / "net.safetensors"
    meta = dict(epoch=3, dataset_meta=dict(classes=("a", "b"), palette=np.eye(2, dtype=int)))
    write_safetensors(file, source.state_dict(), meta)
    checkpoint = load_checkpoint(target, str(file), map_location="cpu", strict=True)
    assert checkpoint["meta"] == dict(
        epoch=3, dataset_meta=dict(classes=["a", "b"], palette=[[1, 0], [0, 1]])
    )
    for key, value in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], value, rtol=0, atol=0)


def test_equal_weights_give_equal_bytes(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    # in another order, not contiguous, and sharing memory
    write_safetensors(files[0], dict(a=weight, b=weight.t()), dict(epoch=1, seed=2))
    copy = weight.t().contiguous()
    write_safetensors(files[1], dict(b=copy, a=weight.clone()), dict(seed=2, epoch=1))
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert digests[0] == digests[1]
    # fixed, so that a later version that writes other bytes is noticed
    data = files[0].read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["__metadata__"] == {"wavemix_mm": '{"epoch": 1, "seed": 2}'}
    numbers = np.frombuffer(data[8 + length :], "<f4")
    assert numbers.tolist() == [0, 1, 2, 3, 4, 5, 0, 3, 1, 4, 2, 5]


def test_file_of_another_project(tmp_path, monkeypatch):
    save_file({"weight": torch.ones(2)}, tmp_path / "timm.safetensors", metadata={"format": "pt"})
    monkeypatch.setenv("HOME", str(tmp_path))
    checkpoint = read_checkpoint("~/timm.safetensors", map_location="meta")
    assert checkpoint["meta"] == {}
    assert checkpoint["state_dict"]["weight"].device.type == "meta"


def header(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02PK",
        b"<!doctype html>" * 9,
        header(b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}') + b"1",  # truncated
        header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        # meta of other projects, nested, or large
        *(header(json.dumps({"__metadata__": {"wavemix_mm": meta}}).encode())
          for meta in ("[1]", "[" * 400 + "]" * 400, "[" * 100_000, "[[]," * (2 << 20))),
    ],
    ids=len,
)  # fmt: skip
def test_damaged_or_forged_file(tmp_path, content):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserInputError, match=r"bad\.safetensors cannot be read: it is truncated"):
        read_state_dict(str(file))


@pytest.mark.parametrize(
    ("folder", "meta", "message"),
    [
        ("", dict(hook=object()), "meta cannot be written as JSON"),
        ("file", {}, r"a\.safetensors cannot be written"),
    ],
)
def test_what_cannot_be_written(tmp_path, folder, meta, message):
    (tmp_path / "file").touch()
    with pytest.raises(UserInputError, match=message):
        write_safetensors(tmp_path / folder / "a.safetensors", {}, meta)
