"""Checkpoints are read without running what they hold; every payload here would make a file."""

import builtins
import functools
import http.server
import json
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from wavemix_mm.engine.checkpoints import loading
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
from wavemix_mm.errors import UserInputError


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return builtins.exec, (f"open({self.marker!r}, 'w').close()",)


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, *inputs, mode="tensor"):
        return {"loss": self.linear(torch.stack(inputs)).square().mean()}


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def forged(tmp_path, marker):
    """A checkpoint that fits Line, with a payload in it."""
    path = tmp_path / "forged.pth"
    torch.save(dict(state_dict=Line().state_dict(), meta=dict(x=Payload(marker))), path)
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would work
    marker.unlink()
    return path


def make_runner(work_dir, **kwargs):
    return Runner(
        model=kwargs.pop("model", None) or Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            dataset=[torch.rand(2) for _ in range(4)],
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=kwargs.pop("epochs", 1)),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        experiment_name=f"{work_dir}_{len(kwargs)}",  # mmengine keeps one Runner for each
        **kwargs,
    )


REFUSAL = r"forged\.pth cannot be read: it holds exec, which is not on the list"


def test_mmengines_loaders_refuse(forged, marker):
    with pytest.raises(UserInputError, match=REFUSAL):
        load_checkpoint(Line(), str(forged))
    with pytest.raises(UserInputError, match=REFUSAL):
        CheckpointLoader.load_checkpoint(str(forged))
    assert not marker.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_runner_refuses(tmp_path, forged, marker, resume):
    with pytest.raises(UserInputError, match=REFUSAL):
        make_runner(tmp_path, load_from=str(forged), resume=resume).train()
    assert not marker.exists()


def test_environment_variable_of_torch_changes_nothing(forged, marker, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UserInputError, match=REFUSAL):
        read_checkpoint(str(forged))
    assert not marker.exists()


@MODELS.register_module()
class PretrainedPart(BaseModule):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.linear = torch.nn.Linear(2, 1)


@pytest.mark.parametrize("prefix", [None, "linear"])
def test_pretrained_part_refuses(forged, marker, prefix):
    init_cfg = dict(type="Pretrained", checkpoint=str(forged))
    if prefix:
        init_cfg["prefix"] = prefix
    with pytest.raises(UserInputError, match=REFUSAL):
        MODELS.build(dict(type="PretrainedPart", init_cfg=init_cfg)).init_weights()
    assert not marker.exists()


def test_trust_loads_in_full_and_says_why(forged, marker, capsys):
    with loading.allow_unsafe_pickle(False), pytest.raises(UserInputError):
        read_checkpoint(str(forged))
    with loading.allow_unsafe_pickle(True):
        load_checkpoint(Line(), str(forged))
    assert marker.exists()
    message = capsys.readouterr().err
    assert f"warning: checkpoint {forged} is unpickled in full" in message
    assert "it holds exec" in message
    with pytest.raises(UserInputError):  # and the trust ends there
        read_checkpoint(str(forged))


def test_trust_says_nothing_of_plain_files(tmp_path, capsys):
    torch.save(Line().state_dict(), tmp_path / "plain.pth")
    with loading.allow_unsafe_pickle(True):
        read_checkpoint(str(tmp_path / "plain.pth"))
    assert capsys.readouterr().err == ""


def put_config(checkpoint, text):
    checkpoint["meta"].update(cfg=text, config=text)
    checkpoint["message_hub"]["runtime_info"]["cfg"] = text
    return checkpoint


def test_runner_resume_executes_no_config_of_the_checkpoint(tmp_path, marker):
    make_runner(tmp_path).train()
    path = tmp_path / "forged.pth"
    text = f"open({str(marker)!r}, 'w').close()\n"
    torch.save(put_config(read_checkpoint(str(tmp_path / "epoch_1.pth")), text), path)
    runner = make_runner(tmp_path, load_from=str(path), resume=True, epochs=2)
    runner.train()
    assert runner.epoch == 2
    assert not marker.exists()
    # nor does it replace the text of the run's own
    assert runner.message_hub.get_info("cfg") == runner.cfg.pretty_text
    with pytest.MonkeyPatch.context() as patch:  # without our part it would be executed
        patch.setattr(loading, "keep_plain", lambda content, _: content)
        make_runner(tmp_path, load_from=str(path), resume=True, epochs=3, cfg={}).train()
    assert marker.exists()


class Inferencer(BaseInferencer):
    _init_pipeline = visualize = postprocess = lambda *_: None


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("trust", [False, True])
def test_inferencer_takes_no_config_from_the_weights(tmp_path, marker, suffix, trust):
    text = f"open({str(marker)!r}, 'w').close()\nmodel = dict(type='Line')"
    path = tmp_path / f"forged.{suffix}"
    if suffix == "pth":
        hub = dict(runtime_info=dict(cfg=text))
        torch.save(dict(state_dict={}, meta=dict(cfg=text), message_hub=hub), path)
    else:
        write_safetensors(path, {}, dict(cfg=text))
    with (
        loading.allow_unsafe_pickle(trust),
        pytest.raises(UserInputError, match="name the config"),
    ):
        Inferencer(weights=str(path))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n <!DOCTYPE html><html>not found</html>", "it is a web page, not a checkpoint"),
        (b"hello", "it is truncated or not a PyTorch checkpoint"),
        (pickle.dumps({"a": 1}), "it is truncated or not a PyTorch checkpoint"),
    ],
    ids=["empty", "web page", "text", "pickle"],
)
@pytest.mark.parametrize("trust", [False, True])
def test_other_files(tmp_path, content, message, trust):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with loading.allow_unsafe_pickle(trust), pytest.raises(UserInputError) as caught:
        load_checkpoint(Line(), str(path))
    assert f"checkpoint {path} cannot be read: {message}" in str(caught.value)


def test_damaged_files_give_one_sentence(tmp_path):
    """A training checkpoint cut anywhere, or with flipped bytes, is refused in words or read."""
    make_runner(tmp_path).train()
    data = (tmp_path / "epoch_1.pth").read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "damaged.pth"
    refused = 0
    for trial in range(300):
        damaged = bytearray(data)
        if trial % 3:
            for position in generator.integers(0, len(data), 4):
                damaged[position] ^= 1 << generator.integers(8)
        else:
            del damaged[generator.integers(len(data)) :]
        path.write_bytes(damaged)
        try:
            read_checkpoint(str(path))
        except UserInputError as error:
            assert str(error).startswith(f"checkpoint {path} cannot be read: ")
            refused += 1
    assert refused > 100  # every cut; flipped numbers are numbers


@pytest.mark.parametrize(
    "content", [[1, 2], dict(state_dict={}), dict(epoch=3), {1: torch.ones(1)}]
)
def test_file_without_weights(tmp_path, content):
    path = str(tmp_path / "a.pth")
    torch.save(content, path)
    with pytest.raises(UserInputError, match=r"a\.pth holds no state dict"):
        loading.read_state_dict(path)


def test_folder_and_missing_file_are_no_checkpoints(tmp_path, monkeypatch):
    with pytest.raises(UserInputError, match="is a folder"):
        loading.check_file(str(tmp_path))
    with pytest.raises(UserInputError, match="does not exist"):
        loading.check_file(str(tmp_path / "no.pth"))
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(Line().state_dict(), tmp_path / "home.pth")
    assert set(loading.read_state_dict("~/home.pth")) == {"linear.weight", "linear.bias"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of an HTTP server of tmp_path on this machine; an empty folder for copies."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as instance:
        thread = threading.Thread(target=instance.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{instance.server_port}"
        instance.shutdown()
        thread.join()


def test_address(tmp_path, server):
    model, source = Line(), Line()
    torch.save(source.state_dict(), tmp_path / "a.pth")
    write_safetensors(tmp_path / "b.safetensors", source.state_dict(), dict(cfg="text", epoch=3))
    for name in ("a.pth", "b.safetensors"):
        content = load_checkpoint(model, f"{server}/{name}")
        torch.testing.assert_close(model.state_dict(), source.state_dict())
        torch.nn.init.zeros_(model.linear.weight)
    assert content["meta"] == dict(epoch=3)
    (tmp_path / "a.pth").unlink()
    load_checkpoint(model, f"{server}/a.pth")  # from the copy
    torch.testing.assert_close(model.state_dict(), source.state_dict())


def test_address_of_something_else(tmp_path, server, forged, marker):
    address = f"{server}/forged.pth"
    for _ in range(2):  # what was refused is not kept
        with pytest.raises(UserInputError, match=rf"{address} cannot be read: it holds exec"):
            load_checkpoint(Line(), address)
        assert not list((tmp_path / "torch_home").rglob("*.pth"))
    (tmp_path / "page.pth").write_text("<html></html>")
    with pytest.raises(UserInputError, match=r"page\.pth cannot be read: it is a web page"):
        load_checkpoint(Line(), f"{server}/page.pth")
    with pytest.raises(UserInputError, match=r"none\.pth cannot be fetched: File not found"):
        load_checkpoint(Line(), f"{server}/none.pth")
    with pytest.raises(UserInputError, match="cannot be fetched"):
        load_checkpoint(Line(), "http://127.0.0.1:1/a.pth")
    assert not marker.exists()


def test_names_of_model_zoos(tmp_path, server, forged, marker, monkeypatch):
    """mmengine looks the name up; what it stands for is fetched and read here."""
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    source = Line()
    torch.save(source.state_dict(), tmp_path / "good.pth")
    (tmp_path / "open_mmlab.json").write_text(
        json.dumps({name: f"{server}/{name}.pth" for name in ("good", "forged")})
    )
    for scheme in ("open-mmlab", "openmmlab"):
        with pytest.raises(UserInputError, match=REFUSAL):
            load_checkpoint(Line(), f"{scheme}://forged")
        model = Line()
        load_checkpoint(model, f"{scheme}://good")
        torch.testing.assert_close(model.state_dict(), source.state_dict())
    assert not marker.exists()
    assert set(loading.read_state_dict("openmmlab://good")) == set(source.state_dict())
    for name in ("openmmlab://none", "mmcls://none", "torchvision://none"):
        with pytest.raises(UserInputError, match=f"checkpoint {name}: there is no model 'none'"):
            read_checkpoint(name)


LOADERS = """
import sys
from mmengine.runner.checkpoint import CheckpointLoader
before = dict(CheckpointLoader._schemes)
import wavemix_mm
print(*sorted(key for key, value in CheckpointLoader._schemes.items() if before.get(key) != value))
"""


def test_import_takes_files_and_addresses_from_mmengine_and_leaves_its_stores():
    process = subprocess.run(
        [sys.executable, "-c", LOADERS], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["http://", "https://", "wavemix_mm://"]  # and the empty one
    for name in ("s3://b/a.pth", "x:petrel://b/a.pth", "pavi://a"):
        loader = CheckpointLoader._get_checkpoint_loader(name)
        assert loader.__module__ == "mmengine.runner.checkpoint"
        with pytest.raises(UserInputError, match="fetch the file"):  # mmengine may run its code
            read_checkpoint(name)
    assert CheckpointLoader._get_checkpoint_loader("a.pth") is loading.load_from_wavemix_mm
