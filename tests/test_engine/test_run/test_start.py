"""An error before the first iteration is the config's; one after it keeps its traceback."""

import pytest
import tiny_run
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from wavemix_mm.engine.run import start
from wavemix_mm.errors import UserInputError


def start_training(tmp_path, **options):
    runner = start.build_runner(tiny_run.config(tmp_path, **options))
    start.run(runner, "train", "config a.py cannot be started")


OPTIMIZER = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentun=0.9))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(optim_wrapper=OPTIMIZER), r"config a\.py cannot be started: .*'momentun'"),
        (dict(load_from="no.pth"), r"no\.pth"),
    ],
)
def test_error_before_the_first_iteration_is_a_sentence(tmp_path, options, expected):
    with pytest.raises(UserInputError, match=expected):
        start_training(tmp_path, **options)


@HOOKS.register_module(name="StartTestFails")
class _Fails(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise ZeroDivisionError


def test_error_in_an_iteration_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        start_training(tmp_path, custom_hooks=[dict(type="StartTestFails")])


@pytest.mark.parametrize("kind", ["Runner", "FlexibleRunner"])
@pytest.mark.parametrize("name", ["ema", "logger"])  # mmengine itself takes None for its own
def test_none_leaves_out_a_hook(tmp_path, kind, name):
    cfg = tiny_run.config(tmp_path, runner_type=kind, env_cfg={})
    cfg.default_hooks[name] = None
    runner = start.build_runner(cfg)
    assert type(runner).__name__ == kind
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
