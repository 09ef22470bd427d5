"""tools/model_converters/publish.py, on checkpoints that mmengine wrote."""

import hashlib
import json

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from safetensors import safe_open
from safetensors.torch import load_file
from test_train import run_main, sentence

from wavemix_mm.engine.checkpoints.loading import read_checkpoint

TOOL = "model_converters/publish"


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)

    def forward(self, *inputs, mode="tensor"):
        return {"loss": self.linear(torch.stack(inputs)).square().mean()}


class Points(torch.utils.data.Dataset):
    metainfo = dict(classes=("one", "two"))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor([index, 1.0])


def train(work_dir, hooks):
    """Train for three iterations, with a checkpoint after each; return the model."""
    runner = Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            dataset=Points(),
            sampler=dict(type="InfiniteSampler", shuffle=False),
        ),
        train_cfg=dict(by_epoch=False, max_iters=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1)),
        custom_hooks=hooks,
        randomness=dict(seed=7),
        experiment_name=str(work_dir),  # mmengine keeps one Runner for each
    )
    return runner.train()


def test_plain_run(tmp_path, capsys):
    model = train(tmp_path, [])
    out = tmp_path / "out.safetensors"
    capsys.readouterr()
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    written = load_file(out)
    torch.testing.assert_close(written, dict(model.state_dict()), rtol=0, atol=0)
    with safe_open(out, framework="pt") as file:
        meta = json.loads(file.metadata()["wavemix_mm"])
    assert meta == dict(dataset_meta=dict(classes=["one", "two"]), epoch=0, iter=3, seed=7)

    text = capsys.readouterr().out
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    assert f"wrote {out}, weights: 2 tensors, 3 numbers\n{out.stat().st_size:,} bytes" in text
    assert text.splitlines()[-2:] == [f"    Weights: {out}", f"    SHA256: {digest}"]
    first = out.read_bytes()
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    assert out.read_bytes() == first


def test_averaged_weights(tmp_path, capsys):
    model = train(tmp_path, [dict(type="EMAHook", ema_type="StochasticWeightAverage")])
    raw = [
        read_checkpoint(str(tmp_path / f"iter_{i}.pth"))["ema_state_dict"]["module.linear.weight"]
        for i in (1, 2, 3)
    ]
    torch.testing.assert_close(raw[2], model.linear.weight.detach())
    out = tmp_path / "out.safetensors"
    run_main(TOOL, tmp_path / "iter_3.pth", out)
    assert "averaged (EMA) weights" in capsys.readouterr().out
    written = load_file(out)
    assert set(written) == {"linear.weight", "linear.bias"}
    mean = torch.stack(raw).mean(0)
    torch.testing.assert_close(written["linear.weight"], mean)
    assert not torch.allclose(mean, raw[2])


def test_plain_state_dict(tmp_path):
    state = {"module.weight": torch.rand(2)}
    torch.save(state, tmp_path / "plain.pth")
    run_main(TOOL, tmp_path / "plain.pth", tmp_path / "out.safetensors")
    torch.testing.assert_close(
        load_file(tmp_path / "out.safetensors"), {"weight": state["module.weight"]}
    )


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
