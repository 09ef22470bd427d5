"""tools/model_converters/publish.py, on checkpoints that mmengine wrote."""

import hashlib
import json

import tiny_run
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_train import run_main, sentence

from wavemix_mm.engine.checkpoints.loading import read_checkpoint

TOOL = "model_converters/publish"


def train(work_dir, hooks):
    """Train for three iterations, with a checkpoint after each; return the model."""

    def name_classes(runner):
        runner.train_dataloader.dataset.metainfo = dict(classes=("one", "two"))

    cfg = tiny_run.config(
        work_dir,
        dict(type="CheckpointHook", by_epoch=False),
        custom_hooks=hooks,
        **tiny_run.iteration_based(3),
    )
    return tiny_run.train(cfg, {1: name_classes}).model


def test_plain_run(tmp_path, capsys):
    model = train(tmp_path, [])
    out = tmp_path / "out.safetensors"
    capsys.readouterr()
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    written = load_file(out)
    torch.testing.assert_close(written, dict(model.state_dict()), rtol=0, atol=0)
    with safe_open(out, framework="pt") as file:
        meta = json.loads(file.metadata()["wavemix_mm"])
    assert meta == dict(dataset_meta=dict(classes=["one", "two"]), epoch=0, iter=3, seed=1)

    text = capsys.readouterr().out
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f"wrote {out}, weights: 10 tensors, 38 numbers\n{out.stat().st_size:,} bytes" in text
    assert text.splitlines()[-2:] == [f"    Weights: {out}", f"    SHA256: {digest}"]
    first = out.read_bytes()
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    assert out.read_bytes() == first


def test_averaged_weights(tmp_path, capsys):
    model = train(tmp_path, [dict(type="EMAHook", ema_type="StochasticWeightAverage")])
    raw = [
        read_checkpoint(str(tmp_path / f"iter_{i}.pth"))["ema_state_dict"]["module.layers.0.weight"]
        for i in (1, 2, 3)
    ]
    torch.testing.assert_close(raw[2], model.layers[0].weight.detach())
    out = tmp_path / "out.safetensors"
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    assert "averaged (EMA) weights" in capsys.readouterr().out
    written = load_file(out)
    assert set(written) == set(model.state_dict())
    mean = torch.stack(raw).mean(0)
    torch.testing.assert_close(written["layers.0.weight"], mean)
    assert not torch.allclose(mean, raw[2])


def test_half_of_a_plain_state_dict(tmp_path):
    weight, variance = torch.rand(2, 2), torch.tensor([1e-8, 1e6])
    torch.save({"module.weight": weight, "module.running_var": variance}, tmp_path / "plain.pth")
    run_main(TOOL, tmp_path / "plain.pth", tmp_path / "out.safetensors", "--half")
    expected = {"weight": weight.half(), "running_var": variance}
    torch.testing.assert_close(load_file(tmp_path / "out.safetensors"), expected, rtol=0, atol=0)


def test_mistakes(tmp_path, capfd):
    out = tmp_path / "out.safetensors"
    absent, text, empty = tmp_path / "absent.pth", tmp_path / "text.pth", tmp_path / "empty.pth"
    text.write_text("hello")
    torch.save(dict(state_dict={}), empty)
    assert "absent.pth does not exist" in sentence(capfd, TOOL, absent, out)
    assert "text.pth cannot be read" in sentence(capfd, TOOL, text, out)
    assert "empty.pth holds no state dict" in sentence(capfd, TOOL, empty, out)
    assert "out.pth must end in .safetensors" in sentence(capfd, TOOL, empty, tmp_path / "out.pth")
    assert not out.exists()
