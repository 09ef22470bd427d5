"""Checkpoints are read without running what they hold; every payload here would make a file."""

import builtins
import functools
import http.server
import json
import pickle
import threading

import numpy as np
import pytest
import torch
from mmengine.infer import BaseInferencer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from tiny_run import config, train
from torch.nn import Linear

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


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def forged(tmp_path, marker):
    """A checkpoint that fits Linear(2, 1), with a payload in it."""
    path = tmp_path / "forged.pth"
    torch.save(dict(state_dict=Linear(2, 1).state_dict(), meta=dict(x=Payload(marker))), path)
    torch.load(path, weights_only=False)
    assert marker.exists()  # it would work
    marker.unlink()
    return path


REFUSAL = r"forged\.pth cannot be read: it holds exec, which is not on the list"


def test_trust_loads_in_full_and_says_why(tmp_path, forged, marker, capsys):
    torch.save(Linear(2, 1).state_dict(), tmp_path / "plain.pth")
    for trust in (False, True, False):  # and the trust ends there
        with loading.allow_unsafe_pickle(trust):
            read_checkpoint(str(tmp_path / "plain.pth"))
            assert capsys.readouterr().err == ""
            if trust:
                load_checkpoint(Linear(2, 1), str(forged))
                message = capsys.readouterr().err
                assert f"warning: checkpoint {forged} is unpickled in full" in message
                assert "it holds exec" in message
                marker.unlink()
            else:
                with pytest.raises(UserInputError, match=REFUSAL):
                    load_checkpoint(Linear(2, 1), str(forged))
                assert not marker.exists()


def test_what_was_read_ahead_is_loaded_once_if_nothing_has_changed(tmp_path, forged, marker):
    paths = [str(tmp_path / name) for name in ("a.pth", "b.pth")]
    for path in paths:
        torch.save(dict(state_dict=Linear(2, 1).state_dict()), path)
    content = loading.read_ahead(paths[0])
    assert loading.read_ahead(paths[0]) is content
    assert CheckpointLoader.load_checkpoint(paths[1]) is not content
    assert CheckpointLoader.load_checkpoint(paths[0]) is content
    assert CheckpointLoader.load_checkpoint(paths[0]) is not content
    loading.read_ahead(paths[0])
    torch.save(dict(state_dict={}), paths[0])
    assert CheckpointLoader.load_checkpoint(paths[0]) == dict(state_dict={})
    with loading.allow_unsafe_pickle(True):
        loading.read_ahead(str(forged))
    marker.unlink()
    with pytest.raises(UserInputError, match=REFUSAL):  # the trust does not outlast its context
        loading.read_ahead(str(forged))
    assert not marker.exists()


def test_runner_resume_executes_no_config_of_the_checkpoint(tmp_path, marker):
    train(config(tmp_path, max_epochs=1))
    path = tmp_path / "forged.pth"
    text = f"open({str(marker)!r}, 'w').close()\n"
    content = read_checkpoint(str(tmp_path / "epoch_1.pth"))
    content["meta"].update(cfg=text, config=text)
    content["message_hub"]["runtime_info"]["cfg"] = text
    torch.save(content, path)
    runner = train(config(tmp_path, load_from=str(path), resume=True, max_epochs=2))
    assert runner.epoch == 2
    assert not marker.exists()
    # nor does it replace the text of the run's own
    assert runner.message_hub.get_info("cfg") == runner.cfg.pretty_text
    with pytest.MonkeyPatch.context() as patch:  # without our part it would be executed
        patch.setattr(loading, "keep_plain", lambda content, _: content)
        train(config(tmp_path, load_from=str(path), resume=True, max_epochs=3))
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
        load_checkpoint(Linear(2, 1), str(path))
    assert f"checkpoint {path} cannot be read: {message}" in str(caught.value)


def test_damaged_files_give_one_sentence(tmp_path):
    """A training checkpoint cut anywhere, or with flipped bytes, is refused in words or read."""
    train(config(tmp_path, max_epochs=1))
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
            assert str(error).startswith(f"checkpoint {path} ")  # unreadable, or another key
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
    for name in ("no.pth", "no.safetensors"):
        with pytest.raises(UserInputError, match=rf"{name} does not exist"):
            load_checkpoint(Linear(2, 1), str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(Linear(2, 1).state_dict(), tmp_path / "home.pth")
    assert set(loading.read_state_dict("~/home.pth")) == {"weight", "bias"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of an HTTP server of tmp_path on this machine; an empty folder for copies."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as instance:
        thread = threading.Thread(target=instance.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{instance.server_port}"
        instance.shutdown()
        thread.join()


def test_address(tmp_path, server):
    model, source = Linear(2, 1), Linear(2, 1)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    write_safetensors(tmp_path / "b.safetensors", source.state_dict(), dict(cfg="text", epoch=3))
    for name in ("b.safetensors", "a.pth", "a.pth"):  # the last one from the copy
        content = load_checkpoint(model, f"{server}/{name}")
        torch.testing.assert_close(model.state_dict(), source.state_dict())
        torch.nn.init.zeros_(model.weight)
        if name == "a.pth":
            (tmp_path / "a.pth").unlink(missing_ok=True)
        else:
            assert content["meta"] == dict(epoch=3)


def test_address_of_something_else(tmp_path, server, forged, marker):
    (tmp_path / "page.pth").write_text("<html></html>")
    for address, message in (
        (f"{server}/forged.pth", "cannot be read: it holds exec"),
        (f"{server}/forged.pth", "cannot be read: it holds exec"),  # what was refused is not kept
        (f"{server}/page.pth", "cannot be read: it is a web page"),
        (f"{server}/none.pth", "cannot be fetched: File not found"),
        ("http://127.0.0.1:1/a.pth", "cannot be fetched"),
    ):
        with pytest.raises(UserInputError, match=f"checkpoint {address} {message}"):
            load_checkpoint(Linear(2, 1), address)
        assert not list((tmp_path / "torch_home").rglob("*.pth"))
    assert not marker.exists()


def test_names_of_model_zoos(tmp_path, server, forged, marker, monkeypatch):
    """mmengine looks the name up; what it stands for is fetched and read here."""
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path))
    source = Linear(2, 1)
    torch.save(source.state_dict(), tmp_path / "good.pth")
    (tmp_path / "open_mmlab.json").write_text(
        json.dumps({name: f"{server}/{name}.pth" for name in ("good", "forged")})
    )
    for scheme in ("open-mmlab", "openmmlab"):
        with pytest.raises(UserInputError, match=REFUSAL):
            load_checkpoint(Linear(2, 1), f"{scheme}://forged")
        model = Linear(2, 1)
        load_checkpoint(model, f"{scheme}://good")
        torch.testing.assert_close(model.state_dict(), source.state_dict())
    assert not marker.exists()
    assert set(loading.read_state_dict("openmmlab://good")) == set(source.state_dict())
    for name in ("openmmlab://none", "mmcls://none", "torchvision://none"):
        with pytest.raises(UserInputError, match=f"checkpoint {name}: there is no model 'none'"):
            read_checkpoint(name)


def test_files_and_addresses_are_ours_and_stores_are_mmengines():
    for name in ("a.pth", "http://a", "https://a", "wavemix_mm://a"):
        assert CheckpointLoader._get_checkpoint_loader(name) is loading.load_from_wavemix_mm
    for name in ("s3://b/a.pth", "x:petrel://b/a.pth", "pavi://a"):
        loader = CheckpointLoader._get_checkpoint_loader(name)
        assert loader.__module__ == "mmengine.runner.checkpoint"
        with pytest.raises(UserInputError, match="fetch the file"):  # mmengine may run its code
            read_checkpoint(name)
