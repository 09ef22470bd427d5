"""Checkpoints of real runs: which there are, what fails, what a resumed run restores."""

import os
import resource
from pathlib import Path

import pytest
import tiny_run
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner
from tiny_run import assert_same_state, config, iteration_based, train

from wavemix_mm.engine.checkpoints.files import find_damage, find_newest_good
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.checkpoints.writer import CheckpointWriter
from wavemix_mm.engine.hooks import SafeCheckpointHook
from wavemix_mm.errors import UserInputError

BEST = dict(save_best="tiny/score", rule="greater")


class Killed(BaseException):
    """Ends a run without a chance to clean up."""


def kill(runner):
    raise Killed


def checkpoints(folder) -> list[str]:
    """Names of the checkpoints, after a look at what must hold for all."""
    names = sorted(path.name for path in Path(folder).rglob("*.pth"))
    for path in Path(folder).rglob("*.pth"):
        assert find_damage(path) is None
        assert path.with_name(path.name + ".sha256").is_file()
    assert len(names) == len(list(Path(folder).rglob("*.sha256")))
    assert not list(Path(folder).rglob("*.partial"))
    return names


def pointer(folder):
    return os.path.relpath((Path(folder) / "last_checkpoint").read_text(), folder)


# What is saved and kept


@pytest.mark.parametrize(
    ("hook", "overrides"),
    [
        (dict(interval=2, max_keep_ckpts=1, filename_tmpl="state_{}.pth"), {}),
        (dict(interval=1, max_keep_ckpts=1, **BEST), {}),
        (dict(interval=3, max_keep_ckpts=2, save_best="auto", rule="less"), {}),
        (dict(interval=-1, save_last=False, **BEST), {}),
        (dict(interval=3, by_epoch=False, max_keep_ckpts=2), {}),
        (dict(interval=3, by_epoch=False, **BEST), iteration_based(16, val_interval=4)),
        (dict(interval=4, by_epoch=False, max_keep_ckpts=1), iteration_based(10, val_interval=4)),
        (dict(interval=1, out_dir=True, max_keep_ckpts=2, **BEST), {}),
        (dict(interval=1, file_client_args=dict(backend="disk"), max_keep_ckpts=1), {}),
        (dict(interval=1, backend_args=dict(backend="local"), save_optimizer=False,
              save_param_scheduler=False), {}),
    ],
)  # fmt: skip
def test_same_files_as_the_plain_hook(tmp_path, monkeypatch, hook, overrides):
    monkeypatch.chdir(tmp_path)
    runs = []
    for kind in ("CheckpointHook", "wavemix_mm.SafeCheckpointHook"):
        options = (
            hook | dict(type=kind) | (dict(out_dir=f"{kind}/out") if "out_dir" in hook else {})
        )
        runs.append(train(config(f"{kind}/run", options, scores=[1, 3, 2, 4], **overrides)))
    names = checkpoints(kind)
    assert names and names == sorted(path.name for path in Path("CheckpointHook").rglob("*.pth"))
    for path in Path(kind).rglob("*.pth"):
        ours, plain = (
            read_checkpoint(str(Path(start, *path.parts[1:]))) for start in (kind, "CheckpointHook")
        )
        assert ours.keys() == plain.keys()
        for key in ("epoch", "iter"):
            assert ours["meta"][key] == plain["meta"][key]
    for key in ("best_score", "keep_ckpt_ids"):
        assert runs[0].message_hub.get_info(key) == runs[1].message_hub.get_info(key)
    last = runs[1].message_hub.get_info("last_ckpt")
    if last:
        assert pointer(f"{kind}/run") == os.path.relpath(last, f"{kind}/run")


def test_several_best_checkpoints(tmp_path):
    scores = dict(rising=[1, 2, 3, 4], noise=[0, 1, 0, 0], falling=[9, 8, 7, 6])
    metrics = [dict(type="TinyRunScore", name=name, scores=scores[name]) for name in scores]
    hook = dict(max_keep_ckpts=1, rule=["greater", "greater", "less"])
    hook["save_best"] = [f"tiny/{name}" for name in scores]
    train(config(tmp_path, hook, scores=[], val_evaluator=metrics))
    assert checkpoints(tmp_path) == [
        "best_tiny_falling_epoch_4.pth",
        "best_tiny_noise_epoch_2.pth",
        "best_tiny_rising_epoch_4.pth",
        "epoch_4.pth",
    ]


def test_published(tmp_path):
    hook = dict(max_keep_ckpts=1, published_keys=["meta", "state_dict"])
    train(config(tmp_path, hook, max_epochs=2))
    (name,) = [name for name in checkpoints(tmp_path) if name != "epoch_2.pth"]
    assert name.startswith("epoch_2-")
    assert read_checkpoint(str(tmp_path / name)).keys() == {"meta", "state_dict"}
    assert find_newest_good(tmp_path) == (tmp_path / "epoch_2.pth", [])


def test_out_dir_on_a_server_is_refused(tmp_path):
    with pytest.raises(UserInputError, match="http://host/folder is not a local folder"):
        train(config(tmp_path, dict(out_dir="http://host/folder")))
    with pytest.raises(UserInputError, match="is not a local folder"):
        train(config(tmp_path, dict(file_client_args=dict(backend="http"))))


@pytest.mark.parametrize(
    "arguments",
    [
        *(dict(max_failures=value) for value in (0, 1.5, "2", True)),
        *(dict(interval=value) for value in (-2, "1", None)),
        dict(max_keep_ckpts=-2),
        *(dict(stop_signals=value) for value in ("SIGTERM", ["TERM"], [15])),
    ],
    ids=str,
)
def test_arguments(arguments):
    (name,) = arguments
    with pytest.raises(UserInputError, match=f"SafeCheckpointHook: {name}="):
        SafeCheckpointHook(**arguments)


# What mmengine calls without a training around it


@pytest.mark.parametrize(
    ("kind", "call"),  # mmengine's FlexibleRunner.test() resumes an optimizer that it has not built
    [(Runner, "train"), (Runner, "test"), (Runner, "load_or_resume")]
    + [(FlexibleRunner, "train"), (FlexibleRunner, "load_or_resume")],
)
def test_resume_true_finds_the_checkpoint(tmp_path, monkeypatch, kind, call):
    """Whatever mmengine asks first, and from which folder."""
    monkeypatch.chdir(tmp_path)
    train(config("run", max_epochs=1))
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    cfg = config("../run", max_epochs=2, scores=[1, 1, 1], resume=True, env_cfg={}, launcher="none")
    for part in ("dataloader", "cfg", "evaluator"):
        cfg[f"test_{part}"] = cfg[f"val_{part}"]
    runner = kind.from_cfg(cfg)
    if kind is FlexibleRunner and call == "load_or_resume":
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.strategy.prepare(runner.model, optim_wrapper=runner.optim_wrapper)
    expected = read_checkpoint(str(tmp_path / "run" / "epoch_1.pth"))["state_dict"]
    getattr(runner, call)()
    model = runner.strategy.model if kind is FlexibleRunner else runner.model
    if call == "train":
        assert runner.epoch == 2
    else:
        assert torch.equal(model.layers[0].weight, expected["layers.0.weight"])


# Resume


def resume(folder, hook=None, **options):
    return train(config(folder, hook, resume=True, **options))


SCHEDULERS = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
    dict(type="MultiStepLR", by_epoch=True, milestones=[2], gamma=0.5, begin=1, end=4),
]
PLATEAU = [dict(type="ReduceOnPlateauLR", monitor="tiny/score", rule="greater", patience=1)]
EMA = [dict(type="wavemix_mm.StatelessSeedHook"), dict(type="EMAHook", momentum=0.3)]
MOMENTUM = dict(type="SGD", lr=0.05, momentum=0.9)
SWITCH = dict(
    type="wavemix_mm.SwitchOptimizerHook",
    switch_epoch=2,
    optim_wrapper=dict(optimizer=MOMENTUM),
    param_scheduler=dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=9),
)


@OPTIM_WRAPPERS.register_module(name="CheckpointTestAmp")
class _Amp(AmpOptimWrapper):
    """mmengine's, which wants an accelerator, with a loss scale that doubles every three steps."""

    def __init__(self, **kwargs):
        super(AmpOptimWrapper, self).__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        self._scale_update_param = None

    def optim_context(self, model):
        return OptimWrapper.optim_context(self, model)


@pytest.mark.parametrize(
    "options",
    [
        dict(param_scheduler=SCHEDULERS),
        dict(param_scheduler=PLATEAU, scores=[3, 2, 1, 0]),
        dict(custom_hooks=EMA, scores=[1, 2, 3, 4]),
        dict(custom_hooks=[dict(type="wavemix_mm.StatelessSeedHook"), SWITCH]),
        dict(optim_wrapper=dict(type="CheckpointTestAmp", optimizer=MOMENTUM)),
    ],
    ids=["schedulers", "plateau", "ema", "switch", "amp"],
)
def test_resumed_run_ends_as_a_straight_one(tmp_path, options):
    """All state is restored: optimizer, schedulers, loss scale, EMA, message hub, best score."""
    hook = dict(max_keep_ckpts=1) | (BEST if "scores" in options else {})
    straight = train(config(tmp_path / "straight", hook, **options))
    for killed_at in (6, 9, 13):
        folder = tmp_path / f"resumed_{killed_at}"
        with pytest.raises(Killed):
            train(config(folder, hook, **options), {killed_at: kill})
        left = dict(scores=options["scores"][(killed_at - 1) // 4 :]) if "scores" in options else {}
        resumed = resume(folder, hook, **options | left)
        assert_same_state(straight, resumed)
        for part in ("param_schedulers", "optim_wrapper"):
            states = [getattr(runner, part) for runner in (resumed, straight)]
            states = [state if isinstance(state, list) else [state] for state in states]
            for a, b in zip(*states, strict=True):
                assert a is b is None or str(a.state_dict()) == str(b.state_dict())
        names = checkpoints(folder)
        assert names == checkpoints(tmp_path / "straight")
        for name in names:
            a, b = (read_checkpoint(str(place / name)) for place in (tmp_path / "straight", folder))
            for key in ("state_dict", "ema_state_dict"):
                for tensor in a.get(key, {}):
                    assert torch.equal(a[key][tensor], b[key][tensor])
        hubs = straight.message_hub, resumed.message_hub
        assert hubs[0].get_info("best_score") == hubs[1].get_info("best_score")
        scalars = [hub.get_scalar("train/loss").data for hub in hubs]
        assert all((a == b).all() for a, b in zip(*scalars, strict=True))


def test_old_ones_are_removed_after_a_resume(tmp_path):
    for max_epochs, names in ((2, [1, 2]), (3, [2, 3]), (5, [4, 5])):
        resume(tmp_path, dict(max_keep_ckpts=2), max_epochs=max_epochs)
        assert checkpoints(tmp_path) == [f"epoch_{i}.pth" for i in names]
    resume(tmp_path, dict(max_keep_ckpts=1), max_epochs=5)  # nothing to train
    assert checkpoints(tmp_path) == ["epoch_5.pth"]


def test_killed_before_the_removal(tmp_path, monkeypatch):
    """What the killed process had no time for is done by the next, in a folder that was moved."""
    hook = dict(max_keep_ckpts=1, **BEST)
    train(config(tmp_path / "a", hook, max_epochs=1, scores=[1]))
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "remove", lambda _, runner, paths: list(paths) and kill(0))
        with pytest.raises(Killed):
            resume(tmp_path / "a", hook, max_epochs=2, scores=[2])
    (tmp_path / "a" / ".epoch_3.pth.partial").write_bytes(b"half")
    assert sorted(p.name for p in (tmp_path / "a").glob("epoch_*.pth")) == [
        "epoch_1.pth",
        "epoch_2.pth",
    ]
    (tmp_path / "a").rename(tmp_path / "b")
    resume(tmp_path / "b", hook, max_epochs=3, scores=[2, 3])
    assert checkpoints(tmp_path / "b") == ["best_tiny_score_epoch_3.pth", "epoch_3.pth"]


def test_falls_back_to_the_one_before_and_says_so(tmp_path, capsys):
    hook = dict(out_dir=str(tmp_path / "out"))
    straight = train(config(tmp_path / "run", hook, max_epochs=3))
    (tmp_path / "out" / "run" / "epoch_3.pth").write_bytes(b"")
    (tmp_path / "run" / "last_checkpoint").unlink()  # it would lead to the folder
    resumed = resume(tmp_path / "run", hook, max_epochs=3)
    assert "epoch_3.pth: it is empty; resuming from" in capsys.readouterr().err
    assert_same_state(straight, resumed)
    assert checkpoints(tmp_path) == [f"epoch_{i}.pth" for i in (1, 2, 3)]


# The validation that a kill prevented


@pytest.mark.parametrize("by_epoch", [True, False])
def test_validation_that_was_prevented_comes_first(tmp_path, monkeypatch, by_epoch):
    options = {} if by_epoch else iteration_based(16, val_interval=4)
    hook = dict(max_keep_ckpts=1, by_epoch=by_epoch, interval=1 if by_epoch else 4, **BEST)
    with monkeypatch.context() as patch:
        patch.setattr(tiny_run._Score, "compute_metrics", lambda self, results: kill(None))
        with pytest.raises(Killed):
            train(config(tmp_path, hook, scores=[], **options))
    resumed = resume(tmp_path, hook, scores=[9, 3, 2, 1], **options)
    # the best is the one that the killed process was about to measure
    unit = "epoch_1" if by_epoch else "iter_4"
    assert f"best_tiny_score_{unit}.pth" in checkpoints(tmp_path)
    assert resumed.message_hub.get_info("best_score") == 9


@pytest.mark.parametrize(
    ("hook", "options", "killed_at", "newest", "scores", "left"),
    [
        # it has ended
        (BEST, {}, 10, "epoch_2.pth", [2, 1], [0, 3]),
        # the epoch has none
        ({}, dict(train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=3)), 6, "epoch_1.pth",
         [1], [1, 2]),
        # the middle of an epoch
        (BEST | dict(by_epoch=False, interval=2), {}, 11, "iter_10.pth", [2, 1], [0, 3]),
    ],
)  # fmt: skip
def test_validation_that_is_not_due(tmp_path, hook, options, killed_at, newest, scores, left):
    with pytest.raises(Killed):
        train(config(tmp_path, hook, scores=scores, **options), {killed_at: kill})
    assert pointer(tmp_path) == newest
    resumed = resume(tmp_path, hook, scores=left, **options)
    assert not resumed.val_evaluator.metrics[0].scores
    assert resumed.message_hub.get_info("best_score") == (3 if "save_best" in hook else None)


def test_no_metrics(tmp_path):
    cfg = config(tmp_path, BEST, scores=[])
    cfg.val_evaluator.name = None
    train(cfg)
    assert checkpoints(tmp_path) == [f"epoch_{i}.pth" for i in range(1, 5)]


# What cannot be saved


@pytest.fixture
def small_files():
    """A function that limits the size of files; the system then refuses to write more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


BALLAST = dict(ballast=1 << 16)  # a quarter of a MiB


def test_training_goes_on_when_a_checkpoint_cannot_be_written(tmp_path, capsys, small_files):
    """Two of them: each is one warning; the last one is there, in a folder of its own."""
    out, work_dir = tmp_path / "out", tmp_path / "run"
    limits = {6: lambda _: small_files(1 << 17), 13: lambda _: small_files(-1)}
    cfg = config(work_dir, dict(max_keep_ckpts=1, out_dir=str(out)), **BALLAST)
    assert train(cfg, limits).iter == 16
    lines = [line for line in capsys.readouterr().out.splitlines() if "not written" in line]
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert f"epoch_{number + 1}.pth was not written: File too large (" in line
        assert "MiB are free in " in line and f"failure {number} of 3" in line
    assert checkpoints(out) == ["epoch_4.pth"]
    assert pointer(work_dir) == os.path.relpath(out / "run" / "epoch_4.pth", work_dir)


def test_nothing_is_removed_and_no_half_of_a_file_stays(tmp_path, small_files):
    hook = dict(max_keep_ckpts=1, max_failures=2, **BEST)
    limit = {6: lambda runner: small_files(1 << 17)}
    with pytest.raises(UserInputError, match=r"not written: File too large .* 2 failures in a row"):
        train(config(tmp_path, hook, scores=[1, 2, 3, 4], **BALLAST), limit)
    small_files(-1)
    assert checkpoints(tmp_path) == ["best_tiny_score_epoch_1.pth", "epoch_1.pth"]
    assert pointer(tmp_path) == "epoch_1.pth"
    resumed = resume(tmp_path, hook, scores=[2, 3, 4], **BALLAST)
    assert checkpoints(tmp_path) == ["best_tiny_score_epoch_4.pth", "epoch_4.pth"]
    assert resumed.message_hub.get_info("best_score") == 4


def test_last_checkpoint_is_tried_again_and_missed(tmp_path, small_files):
    limit = {14: lambda runner: small_files(1 << 17)}
    with pytest.raises(UserInputError, match="training has ended, but its last checkpoint is not"):
        train(config(tmp_path, dict(max_keep_ckpts=1), **BALLAST), limit)
    small_files(-1)
    assert checkpoints(tmp_path) == ["epoch_3.pth"]


def spoil_weight(runner):
    runner.model.layers[3].weight.data[0, 2] = float("inf")


def spoil_average(runner):
    (ema,) = (hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    ema.ema_model.module.layers[0].weight.data.fill_(float("nan"))


def spoil_momentum(runner):
    runner.optim_wrapper.optimizer.state_dict()["state"][0]["exp_avg_sq"][0, 0] = float("inf")


@pytest.mark.parametrize(
    ("spoil", "at", "options", "name", "best"),
    [
        (spoil_weight, 6, {}, "state_dict.layers", [1]),
        # EMAHook exchanges the weights
        (spoil_average, 6, dict(custom_hooks=EMA), "state_dict.layers", [1]),
        # the best checkpoint, of weights alone, is finite; the one before is not removed
        (spoil_momentum, 8, {}, "optimizer.state.0.exp_avg_sq", [1, 2]),
    ],
)
def test_what_is_not_finite_is_not_saved(tmp_path, capsys, spoil, at, options, name, best):
    hook = dict(max_keep_ckpts=1, max_failures=2, **BEST)
    with pytest.raises(UserInputError, match=rf"{name}.* is not finite; 2 failures in a row"):
        train(config(tmp_path, hook, scores=[1, 2, 3, 4], **options), {at: spoil})
    assert f"epoch_2.pth was not written: {name}" in capsys.readouterr().out
    names = [f"best_tiny_score_epoch_{epoch}.pth" for epoch in best]
    assert checkpoints(tmp_path) == [*names, "epoch_1.pth"]
    assert pointer(tmp_path) == "epoch_1.pth"


def test_flexible_runner(tmp_path):
    """mmengine's runner for sharded models writes and counts in ways of its own."""
    hook = dict(max_keep_ckpts=1, **BEST)

    def run(scores, **options):
        cfg = config(tmp_path, hook, scores=scores, env_cfg={}, **options)
        runner = FlexibleRunner.from_cfg(cfg)
        runner.train()
        return runner

    run([1, 2], max_epochs=2)
    assert checkpoints(tmp_path) == ["best_tiny_score_epoch_2.pth", "epoch_2.pth"]
    meta = read_checkpoint(str(tmp_path / "epoch_2.pth"))["meta"]
    assert (meta["epoch"], meta["iter"], meta["validation_follows"]) == (2, 8, False)
    resumed = run([3, 4], max_epochs=4, resume=True, load_from=str(tmp_path / "epoch_2.pth"))
    assert resumed.iter == 16
    assert checkpoints(tmp_path) == ["best_tiny_score_epoch_4.pth", "epoch_4.pth"]
