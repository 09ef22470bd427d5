"""An error before the first iteration is the config's; one after it keeps its traceback."""

import pytest
import tiny_run
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

from wavemix_mm.engine.run import start
from wavemix_mm.errors import UserInputError


class Line(BaseModel):
    """One weight; fails in the forward pass if told so."""

    def __init__(self, error=None):
        super().__init__()
        self.linear = torch.nn.Linear(2, 1)
        self.error = error

    def forward(self, *inputs, mode="tensor"):
        if self.error is not None:
            raise self.error
        return {"loss": self.linear(torch.stack(inputs)).square().mean()}


def make_runner(tmp_path, error=None, optimizer=None):
    return Runner(
        model=Line(error),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=2,
            dataset=[torch.rand(2) for _ in range(4)],
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=optimizer or dict(type="SGD", lr=0.1)),
        experiment_name=str(tmp_path),
    )


def test_trains_and_returns_the_model(tmp_path):
    runner = make_runner(tmp_path)
    assert start.run(runner, "train", "config a.py cannot be started") is runner.model
    assert (tmp_path / "epoch_1.pth").is_file()


def test_wrong_optimizer_argument_is_a_sentence(tmp_path):
    runner = make_runner(tmp_path, optimizer=dict(type="SGD", lr=0.1, momentun=0.9))
    with pytest.raises(UserInputError, match=r"config a\.py cannot be started: .*'momentun'"):
        start.run(runner, "train", "config a.py cannot be started")


def test_missing_initial_weights_are_a_sentence(tmp_path):
    runner = make_runner(tmp_path)
    runner._load_from = str(tmp_path / "no.pth")
    with pytest.raises(UserInputError, match=r"no\.pth"):
        start.run(runner, "train", "config a.py cannot be started")


def test_error_in_an_iteration_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        start.run(make_runner(tmp_path, ZeroDivisionError()), "train", "config a.py")


class Mine:
    """A runner of a user's own."""

    def __init__(self, cfg):
        self.cfg = cfg

    @classmethod
    def from_cfg(cls, cfg):
        return cls(cfg)


def test_custom_runner_type():
    start.RUNNERS.register_module(module=Mine, force=True)
    assert type(start.build_runner(Config(dict(runner_type="Mine")))) is Mine


@pytest.mark.parametrize("kind", ["Runner", "FlexibleRunner"])
@pytest.mark.parametrize("name", ["ema", "logger"])  # mmengine itself takes None for its own
def test_none_leaves_out_a_hook(tmp_path, kind, name):
    cfg = tiny_run.config(tmp_path, runner_type=kind, env_cfg={})
    cfg.default_hooks[name] = None
    runner = start.build_runner(cfg)
    left = {type(hook).__name__ for hook in runner.hooks}
    assert ("LoggerHook" in left) == (name == "ema") and "SafeCheckpointHook" in left


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("cpu", dict(optimize=True), None),
        ("cuda", dict(optimize=True), ({}, True)),
        ("cuda", dict(optimize=dict(recompute=True)), (dict(recompute=True), True)),
        ("cpu", dict(compile=dict(fullgraph=True)), (dict(fullgraph=True), False)),
        ("cpu", dict(compile=True, optimize=True), ({}, False)),
        ("cuda", dict(compile=dict(mode="m"), optimize=True), (dict(mode="m"), True)),
    ],
)
def test_options_that_compile(device, options, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(start, "get_device", lambda: device)
    runner = start.build_runner(tiny_run.config(tmp_path, **options))
    hooks = {type(hook).__name__: hook for hook in runner.hooks}
    hook = hooks.get("CompileHook")
    assert (None if hook is None else (hook.options, hook.optimize)) == expected
    assert runner.cfg.keys().isdisjoint(("compile", "optimize"))
