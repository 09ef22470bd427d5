"""NonFiniteHook in real runs: what is left out, named, restored, and when it stops."""

import sys
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from processes import run_in_processes

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.hooks import NonFiniteHook
from wavemix_mm.errors import UserInputError

NAN = float("nan")


class Images(torch.utils.data.Dataset):
    """Eight images of three numbers; those in `bad` hold a nan."""

    metainfo = dict(classes=("a",))

    def __init__(self, bad=()):
        self.bad = bad

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.rand(3, generator=torch.Generator().manual_seed(index))
        if index in self.bad:
            image[0] = NAN
        return dict(
            inputs=image, data_samples=SimpleNamespace(img_path=f"{index}.png", sample_idx=index)
        )


class Net(tiny_run._Net):
    def forward(self, inputs, data_samples, mode="tensor"):
        return super().forward(torch.stack(inputs), 0, mode)


def make_runner(work_dir, bad=(), epochs=1, hook=None, wrapper=None, hooks=(), **kwargs):
    custom = [] if hook is None else [dict(type="wavemix_mm.NonFiniteHook", **hook)]
    optimizer = dict(type="SGD", lr=0.1, momentum=0.9)
    return Runner(
        model=Net(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            dataset=Images(bad),
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="pseudo_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=optimizer) | (wrapper or {}),
        custom_hooks=[*custom, *hooks],
        experiment_name=f"{work_dir}_{epochs}",  # mmengine keeps one Runner for each
        **kwargs,
    )


def log_of(work_dir):
    return "".join(path.read_text() for path in work_dir.glob("*/*.log"))


def finite(model):
    return all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("wrapper", ["OptimWrapper", "wavemix_mm.BFloat16OptimWrapper"])
def test_step_is_left_out_and_its_files_named(tmp_path, wrapper):
    runner = make_runner(tmp_path, bad=[3], hook={}, wrapper=dict(type=wrapper))
    assert finite(runner.train())
    log = log_of(tmp_path)
    assert (
        "Iteration 2: the loss is nan. The step is left out, 1 in a row, 1 in all. "
        "Its images: 2.png, 3.png" in log
    )
    assert "1 steps were left out" in log
    assert "step" not in vars(runner.optim_wrapper)
    # the count is in the checkpoint, and goes on from there
    info = read_checkpoint(str(tmp_path / "epoch_1.pth"))["message_hub"]["runtime_info"]
    assert info["non_finite_steps"] == 1
    resumed = make_runner(
        tmp_path, bad=[7], epochs=2, hook={}, resume=True, load_from=str(tmp_path / "epoch_1.pth")
    )
    assert finite(resumed.train())
    assert "Iteration 8: the loss is nan. The step is left out, 1 in a row, 2 in all" in log_of(
        tmp_path
    )


def test_accumulation_names_all_its_batches(tmp_path):
    make_runner(tmp_path, bad=[0, 4], hook={}, wrapper=dict(accumulative_counts=2)).train()
    log = log_of(tmp_path)
    assert "Iteration 2: the loss is nan. The step is left out, 1 in a row" in log
    assert "Its images: 0.png, 1.png\n" in log and "Its images: 4.png, 5.png\n" in log


class Scaled(Hook):
    """A wrapper that scales the loss, as in float16: its scale is too large at first."""

    def before_train(self, runner):
        runner.optim_wrapper.loss_scaler = torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("hooks", [[], [Scaled()]], ids=["unscaled", "scaled"])
def test_gradient_alone(tmp_path, hooks):
    """No loss tells which batch it was: all files are named, or none if the scale may be why."""

    class Rooted(Net):
        def forward(self, inputs, data_samples, mode="tensor"):
            loss = super().forward(inputs, data_samples, mode)["loss"]
            root = 0.0 if data_samples[0].sample_idx == 4 else 1.0
            return {"loss": loss + (self.layers[3].bias * root).abs().sum().sqrt()}

    runner = make_runner(tmp_path, hook={}, hooks=hooks)
    runner.model = Rooted()
    assert finite(runner.train())
    warned = (
        "Iteration 3: a gradient is not finite. The step is left out, 1 in a row, 1 in all. "
        "Its images: 4.png, 5.png" in log_of(tmp_path)
    )
    assert warned is (not hooks)
    assert "1 steps were left out" in log_of(tmp_path)


def spoil(runner, at):
    """Have the weights turn nan before some iteration, and stay so until something is done."""
    original = runner.model.train_step

    def train_step(data, optim_wrapper):
        if runner.iter == at:
            runner.model.layers[3].weight.data.fill_(NAN)
        return original(data, optim_wrapper)

    runner.model.train_step = train_step


@pytest.mark.parametrize("ema", [False, True])
def test_restores_the_last_good_checkpoint(tmp_path, ema):
    hooks = [dict(type="EMAHook", momentum=0.5)] if ema else []
    hook = dict(max_consecutive=2, lr_factor=0.25)
    schedule = dict(type="ConstantLR", factor=0.5, end=2)
    runner = make_runner(tmp_path, epochs=3, hook=hook, hooks=hooks, param_scheduler=schedule)
    spoil(runner, at=9)  # in the third epoch
    restored = {}

    class Note(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 10:
                restored.update({k: v.clone() for k, v in runner.model.state_dict().items()})
                state = runner.optim_wrapper.optimizer.state_dict()["state"]
                restored["momentum"] = state[0]["momentum_buffer"].clone()
                restored["lr"] = runner.optim_wrapper.get_lr()["lr"][0]
                restored["base"] = runner.param_schedulers[0].base_values

    runner.register_hook(Note())
    model = runner.train()
    checkpoint = read_checkpoint(str(tmp_path / "epoch_2.pth"))
    raw = checkpoint["state_dict"]
    if ema:  # the checkpoint has the averages in their place
        raw = {key[7:]: value for key, value in checkpoint["ema_state_dict"].items() if "." in key}
    for key in model.state_dict():
        assert torch.equal(restored[key], raw[key]), key
    momentum = checkpoint["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(restored["momentum"], momentum)
    assert restored["lr"] == pytest.approx(0.1 * 0.25)  # the schedule has come to its end
    assert restored["base"] == [pytest.approx(0.1 * 0.25)]
    assert finite(model)
    if ema:
        (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
        assert finite(hook.ema_model)
    log = log_of(tmp_path)
    assert "Training diverged at iteration 11: 2 steps in a row had" in log
    assert f"Restored {tmp_path / 'epoch_2.pth'}; the learning rate is now 0.025." in log
    assert runner.iter == 12


def test_restores_across_a_switch(tmp_path):
    """The state of the optimizer before is not given to the one after."""
    switch = dict(
        type="wavemix_mm.SwitchOptimizerHook",
        switch_epoch=1,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)),
    )
    runner = make_runner(tmp_path, epochs=2, hook=dict(max_consecutive=2), hooks=[switch])
    spoil(runner, at=5)
    assert finite(runner.train())
    assert runner.optim_wrapper.get_lr()["lr"] == [0.005]
    assert "learning rate is now 0.005" in log_of(tmp_path)


@pytest.mark.parametrize(
    ("hook", "trained", "iteration", "message", "factor"),
    [
        (dict(on_failure="stop"), True, 3, "are not finite.", 1),
        (dict(), False, 3, "has no checkpoint to restore.", 1),
        (dict(max_restores=2), True, 9, "after 2 restored checkpoints.", 1 / 4),
    ],
    ids=["stop", "nothing to restore", "restores again and again"],
)
def test_stops(tmp_path, hook, trained, iteration, message, factor):
    if trained:
        make_runner(tmp_path).train()
    runner = make_runner(tmp_path, bad=range(8), epochs=5, hook=dict(max_consecutive=3) | hook)
    with pytest.raises(UserInputError) as caught:
        runner.train()
    start = f"training diverged at iteration {iteration}: 3 steps in a row had"
    assert str(caught.value).startswith(start) and str(caught.value).endswith(message)
    assert runner.optim_wrapper.get_lr()["lr"] == [pytest.approx(0.1 * factor)]
    assert finite(runner.model)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(max_consecutive=0),
        dict(max_restores=-1),
        dict(on_failure="retry"),
        *(dict(lr_factor=value) for value in (0, 1.5, "half", NAN)),
    ],
    ids=str,
)
def test_arguments(tmp_path, arguments):
    (name,) = arguments
    with pytest.raises(UserInputError, match=f"NonFiniteHook: {name}="):
        make_runner(tmp_path, hook=arguments)


def test_answers_that_come_late(tmp_path, monkeypatch):
    """As on a GPU: the hooks read no tensor but the answer to the step before."""
    fused = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9, fused=True))
    hooks = [dict(type=f"wavemix_mm.{kind}Hook") for kind in ("StatelessSeed", "MeanLoss")]
    readers = set()  # functions that the host would wait in
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, reporting(getattr(torch.Tensor, name), readers))
    runner = make_runner(tmp_path, bad=[3, 7], hook={}, wrapper=fused, hooks=hooks)
    runner.register_hook(Forget(readers), "LOWEST")
    assert finite(runner.train())
    # the losses of a bad step are read in a list comprehension, with a frame before Python 3.12
    assert readers - {"_tell", "<listcomp>"} == {"results"}
    log = log_of(tmp_path)
    assert "Iteration 2: the loss is nan. The step is left out, 1 in a row, 1 in all" in log
    assert "Iteration 4: the loss is nan. The step is left out, 1 in a row, 2 in all" in log
    assert "Its images: 6.png, 7.png" in log


def reporting(method, readers):
    def call(self, *args, **kwargs):
        code = sys._getframe(1).f_code
        if "wavemix_mm/engine" in code.co_filename:
            readers.add(code.co_name)
        return method(self, *args, **kwargs)

    return call


class Forget(Hook):
    """Forget the readers before the first step: the guard waits when it is made."""

    def __init__(self, readers):
        self.readers = readers

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self.readers.clear()


def train_in_two(work_dir):
    """Two processes with half of the images each; the second has the bad one."""
    torch.distributed.init_process_group("gloo")
    runner = make_runner(
        work_dir,
        bad=[3],  # the second of the second process
        hook={},
        launcher="pytorch",
        cfg=dict(model_wrapper_cfg=dict(type="MMDistributedDataParallel", device_ids=None)),
        env_cfg=dict(dist_cfg=dict(backend="gloo")),
    )
    runner.train()


def test_several_processes(tmp_path):
    run_in_processes(2, train_in_two, tmp_path)
    # the log is the first process's, the file one of the second
    message = (
        "the loss is nan. The step is left out, 1 in a row, 1 in all. Its images: 1.png, 3.png"
    )
    assert message in log_of(tmp_path)


def test_several_optimizers_are_one_message_before_the_first_step():
    model = Net()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    runner = SimpleNamespace(optim_wrapper=OptimWrapperDict(a=wrapper, b=wrapper))
    with pytest.raises(UserInputError, match="a single OptimWrapper, not several optimizers"):
        NonFiniteHook().before_train(runner)
    runner.optim_wrapper = object()
    with pytest.raises(UserInputError, match="not a object"):
        NonFiniteHook().before_train(runner)
