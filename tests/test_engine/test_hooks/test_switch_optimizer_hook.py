"""The switch in real runs of mmengine's Runner, interrupted and resumed."""

import copy
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from mmengine._strategy import DeepSpeedStrategy
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import IterBasedTrainLoop
from tiny_run import assert_same_state

from wavemix_mm.engine.hooks.switch_optimizer_hook import SwitchOptimizerHook
from wavemix_mm.engine.run.start import build_runner
from wavemix_mm.errors import UserInputError

SGD = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9))


@HOOKS.register_module(name="SwitchTestRecorder")
class _Recorder(Hook):
    """Notes the optimizer and the weights before each epoch, and the rate before each step."""

    priority = "VERY_LOW"

    def __init__(self):
        self.optimizers, self.rates, self.weights = [], [], {}

    def before_train_epoch(self, runner):
        self.optimizers.append(type(runner.optim_wrapper.optimizer).__name__)
        self.weights[runner.epoch] = copy.deepcopy(runner.model.state_dict())

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()["lr"][0])


@OPTIM_WRAPPERS.register_module(name="SwitchTestScaled")
class _Scaled(OptimWrapper):
    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale)


def _config(work_dir, hook=None, **overrides):
    hook = dict(type="wavemix_mm.SwitchOptimizerHook", switch_epoch=2, optim_wrapper=SGD) | (
        hook or {}
    )
    hooks = [dict(type="wavemix_mm.StatelessSeedHook"), hook, dict(type="SwitchTestRecorder")]
    return tiny_run.config(work_dir, custom_hooks=hooks, log_level="INFO", **overrides)


def _train(config):
    runner = build_runner(config)
    runner.train()
    (recorder,) = (hook for hook in runner.hooks if isinstance(hook, _Recorder))
    return runner, recorder


def _resume(tmp_path, name, checkpoint, **kwargs):
    return _config(tmp_path / name, resume=True, load_from=str(checkpoint), **kwargs)


@pytest.mark.parametrize(
    "hook, expected",
    [
        (dict(switch_epoch=2), ["AdamW", "AdamW", "SGD", "SGD"]),
        (dict(switch_epoch=0), ["SGD"] * 4),
        (dict(switch_epoch=4), ["AdamW"] * 4),
        (dict(switch_epoch=None, last_epochs=1), ["AdamW"] * 3 + ["SGD"]),
        (dict(switch_epoch=None, last_epochs=0), ["AdamW"] * 4),
    ],
)
def test_switches_at_the_epoch(hook, expected, tmp_path):
    runner, recorder = _train(_config(tmp_path, hook=hook))
    assert recorder.optimizers == expected
    if expected[-1] == "SGD":
        group = runner.optim_wrapper.optimizer.param_groups[0]
        assert group["lr"] == 0.05 and group["momentum"] == 0.9
        buffers = [s["momentum_buffer"] for s in runner.optim_wrapper.optimizer.state.values()]
        assert len(buffers) == 6 and any(buffer.abs().max() > 0 for buffer in buffers)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_resumed_run_ends_as_the_uninterrupted_one(epoch, tmp_path):
    whole, _ = _train(_config(tmp_path / "whole"))
    checkpoint = tmp_path / "whole" / f"epoch_{epoch}.pth"
    resumed, recorder = _train(_resume(tmp_path, "resumed", checkpoint))
    assert recorder.optimizers == ["AdamW", "AdamW", "SGD", "SGD"][epoch:]
    assert_same_state(whole, resumed)


@pytest.mark.parametrize("iteration", [6, 10])
def test_resume_from_the_middle_of_an_epoch(iteration, tmp_path):
    """A checkpoint in the first epoch after the switch has the epoch of one just before it."""
    every_two = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=2))
    _train(_config(tmp_path / "whole", default_hooks=every_two))
    checkpoint = tmp_path / "whole" / f"iter_{iteration}.pth"
    state = torch.load(checkpoint, weights_only=False)
    assert state["meta"]["epoch"] == iteration // 4
    _, recorder = _train(_resume(tmp_path, "resumed", checkpoint))
    if iteration == 10:
        assert set(recorder.optimizers) == {"SGD"}
    else:
        assert recorder.optimizers[0] == "AdamW" and recorder.optimizers[-1] == "SGD"


def test_plain_load_from_does_not_switch(tmp_path):
    _train(_config(tmp_path / "whole"))
    config = _config(tmp_path / "new", load_from=str(tmp_path / "whole" / "epoch_4.pth"))
    assert _train(config)[1].optimizers == ["AdamW", "AdamW", "SGD", "SGD"]


def test_inherits_what_it_does_not_name(tmp_path):
    config = _config(tmp_path)
    config.optim_wrapper.accumulative_counts = 2
    config.optim_wrapper.clip_grad = dict(max_norm=0.25)
    config.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2.0)
    runner, _ = _train(config)
    wrapper = runner.optim_wrapper
    assert wrapper._accumulative_counts == 2
    assert wrapper.clip_grad_kwargs == dict(max_norm=0.25)
    assert len(wrapper.optimizer.param_groups) == 6
    assert wrapper._max_counts == 16 and wrapper._inner_count == 16
    own = dict(optim_wrapper=SGD | dict(accumulative_counts=1))
    assert _train(_config(tmp_path / "own", hook=own))[0].optim_wrapper._accumulative_counts == 1


def test_the_loss_scale_is_kept(tmp_path):
    hook = dict(optim_wrapper=SGD | dict(scale=8.0))
    optimizer = dict(type="AdamW", lr=0.01)
    wrapper = dict(type="SwitchTestScaled", scale=32.0, optimizer=optimizer)
    runner, _ = _train(_config(tmp_path, hook, optim_wrapper=wrapper))
    assert type(runner.optim_wrapper.optimizer) is torch.optim.SGD
    assert runner.optim_wrapper.loss_scaler.get_scale() == 32.0


def test_the_first_schedule_ends_with_the_switch(tmp_path):
    scheduler = dict(type="LinearLR", start_factor=0.5, end=2, by_epoch=False)
    runner, recorder = _train(_config(tmp_path, param_scheduler=scheduler))
    assert recorder.rates == pytest.approx([0.005] + [0.01] * 7 + [0.05] * 8)
    assert runner.param_schedulers == []


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("epoch", [2, 3])
def test_the_second_schedule_counts_from_the_switch(by_epoch, epoch, tmp_path):
    second = dict(type="StepLR", step_size=1 if by_epoch else 2, gamma=0.5, by_epoch=by_epoch)
    kwargs = dict(
        hook=dict(param_scheduler=second),
        param_scheduler=[dict(type="ExponentialLR", gamma=0.9, by_epoch=True)],
    )
    whole, recorder = _train(_config(tmp_path / "whole", **kwargs))
    first = [0.01] * 4 + [0.009] * 4
    then = [0.05 * 0.5 ** (i // (4 if by_epoch else 2)) for i in range(8)]
    assert recorder.rates == pytest.approx(first + then)
    checkpoint = tmp_path / "whole" / f"epoch_{epoch}.pth"
    resumed, again = _train(_resume(tmp_path, "resumed", checkpoint, **kwargs))
    assert again.rates == recorder.rates[4 * epoch :]
    assert_same_state(whole, resumed)


def _with_validation(scores):
    checkpoint = dict(type="CheckpointHook", interval=1, save_best="tiny/score", rule="greater")
    return dict(hook=dict(load_best=True), scores=scores, default_hooks=dict(checkpoint=checkpoint))


def test_load_best(tmp_path):
    # the validation after the first epoch is the best before the switch
    _, recorder = _train(_config(tmp_path, **_with_validation([2.0, 1.0, 3.0, 0.0])))
    after_first = torch.load(tmp_path / "epoch_1.pth", weights_only=False)["state_dict"]
    for name, value in recorder.weights[2].items():
        assert torch.equal(value, after_first[name]), name
    assert recorder.optimizers == ["AdamW", "AdamW", "SGD", "SGD"]


def test_load_best_without_a_best_checkpoint_warns(tmp_path):
    with_best = _train(_config(tmp_path / "a", hook=dict(load_best=True)))[0]
    without = _train(_config(tmp_path / "b"))[0]
    assert_same_state(with_best, without)
    log = next((tmp_path / "a").glob("*/*.log")).read_text()
    assert "load_best=True) found no best checkpoint" in log
    assert "Switched to SGD after 2 epochs" in log


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(), "exactly one of switch_epoch and last_epochs"),
        (dict(switch_epoch=1, last_epochs=1), "exactly one of switch_epoch and last_epochs"),
        (dict(switch_epoch=1, optim_wrapper=None), r"optim_wrapper=dict\(optimizer"),
        (dict(switch_epoch=1, optim_wrapper=dict(type="OptimWrapper")), "optim_wrapper=dict"),
        (dict(switch_epoch=-1), "SwitchOptimizerHook: switch_epoch=-1 is not an integer"),
        (dict(last_epochs=1.5), "SwitchOptimizerHook: last_epochs=1.5 is not an integer"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(UserInputError, match=message):
        SwitchOptimizerHook(**(dict(optim_wrapper=SGD) | kwargs))


@pytest.mark.parametrize(
    "hook", [dict(switch_epoch=2), dict(switch_epoch=5), dict(switch_epoch=None, last_epochs=2)]
)
def test_a_run_that_is_too_short_keeps_its_optimizer_and_says_so(hook, tmp_path):
    """What `--cfg-options train_cfg.max_epochs=2` makes of a long run."""
    _, recorder = _train(_config(tmp_path, max_epochs=2, hook=hook))
    assert recorder.optimizers == ["AdamW", "AdamW"]
    (log,) = (path.read_text() for path in tmp_path.glob("*/*.log"))
    (line,) = (line for line in log.splitlines() if "throughout" in line)
    name, value = [item for item in hook.items() if item[1] is not None][-1]
    assert f"keeps AdamW throughout, because {name} of SwitchOptimizerHook is {value}:" in line


def test_a_short_run_that_is_resumed_as_a_long_one_switches(tmp_path):
    hook = dict(switch_epoch=None, last_epochs=2)
    _train(_config(tmp_path / "a", max_epochs=2, hook=hook))
    resumed = _resume(tmp_path, "b", tmp_path / "a" / "epoch_2.pth", max_epochs=5, hook=hook)
    runner, recorder = _train(resumed)
    assert recorder.optimizers == ["AdamW", "SGD", "SGD"]
    assert_same_state(runner, _train(_config(tmp_path / "c", max_epochs=5, hook=hook))[0])


def test_a_long_run_that_is_resumed_as_a_short_one_stays_switched(tmp_path):
    """The checkpoint holds the state of SGD; 3 epochs are too few for 3 last ones."""
    hook = dict(switch_epoch=None, last_epochs=3)
    _train(_config(tmp_path / "a", max_epochs=4, hook=hook))
    _, recorder = _train(
        _resume(tmp_path, "b", tmp_path / "a" / "epoch_2.pth", max_epochs=3, hook=hook)
    )
    assert recorder.optimizers == ["SGD"]


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        (dict(train_loop=object.__new__(IterBasedTrainLoop)), r"\(by_epoch=True\)"),
        (dict(optim_wrapper=OptimWrapperDict()), "single optimizer"),
        # the package of this strategy is not installed
        (dict(strategy=object.__new__(DeepSpeedStrategy)), "a DeepSpeedStrategy"),
    ],
    ids=["iterations", "several optimizers", "optimizer of the strategy"],
)
def test_other_runs_are_refused(runner, message):
    runner = SimpleNamespace(**dict(train_loop=None, optim_wrapper=None) | runner)
    with pytest.raises(UserInputError, match=message):
        SwitchOptimizerHook(switch_epoch=1, optim_wrapper=SGD).before_train(runner)


def test_a_flexible_runner_switches_and_resumes(tmp_path):
    hook = dict(param_scheduler=dict(type="StepLR", step_size=1, gamma=0.5))
    options = dict(runner_type="FlexibleRunner", env_cfg={}, hook=hook)
    straight, recorder = _train(_config(tmp_path / "a", **options))
    assert recorder.optimizers == ["AdamW", "AdamW", "SGD", "SGD"]
    expected, other = _train(_config(tmp_path / "b", hook=hook))
    assert_same_state(straight, expected)
    assert recorder.rates == other.rates
    resumed = _resume(tmp_path, "c", tmp_path / "a" / "epoch_3.pth", **options)
    resumed, recorder = _train(resumed)
    assert recorder.optimizers == ["SGD"]
    assert_same_state(resumed, straight)
