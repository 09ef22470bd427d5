"""tools/analysis_tools/comparing: the parts of a comparison."""

import json
import os
import sys
import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from comparing import report
from comparing.configs import load_entries, rescale
from comparing.report import Comparison
from comparing.runs import (
    ChildError,
    Run,
    _start,
    lock_folder,
    train_all,
    write_configs,
)
from measuring.candidates import inspect_model
from measuring.session import Settings
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from test_measuring import read_rows
from test_train import ROOT

from wavemix_mm.errors import UserInputError


@pytest.fixture
def write_config(tmp_path, config_text):
    """Writes NAME.py, the tiny config with some lines more; returns its path."""

    def write(name, lines=""):
        path = tmp_path / f"{name}.py"
        path.write_text(f"{config_text}\n{lines}\n")
        return str(path)

    return write


@pytest.fixture
def entries(write_config):
    """Two networks."""
    deep = write_config("deep", "model['backbone']['depth'] = 2")
    return load_entries([write_config("shallow"), deep])


@pytest.mark.parametrize(
    "lines, message",
    [
        ("train_dataloader['batch_size'] = 3", "differ in train_dataloader.batch_size"),
        ("train_dataloader['dataset']['pipeline'] = []", "train_dataloader.dataset.pipeline"),
        ("val_dataloader['dataset']['type'] = 'Cityscapes'", "val_dataloader.dataset.type"),
        ("val_evaluator = dict(ignore_index=255)", "val_evaluator.ignore_index"),
        ("model['data_preprocessor']['size'] = (64, 64)", "model.data_preprocessor.size"),
        ("train_cfg = dict(by_epoch=False, _delete_=True, max_iters=5)", "does not train by"),
        ("val_evaluator = dict(type='Other')", "val_evaluator is no IoUMetric"),
        ("val_dataloader = None", "has no val_dataloader"),
        ("model = dict(_delete_=True, type='GAN')", "has neither model.decode_head nor"),
    ],
)
def test_what_cannot_be_compared(write_config, lines, message):
    with pytest.raises(UserInputError, match=f"other.py.*{message}"):
        load_entries([write_config("first"), write_config("other", lines)])


def test_one_name_twice_and_missing_data(write_config):
    first = write_config("first")
    with pytest.raises(UserInputError, match="have the same file name"):
        load_entries([first, first])
    with pytest.raises(UserInputError, match="train_dataloader looks for its data in nowhere"):
        load_entries([first], ["train_dataloader.dataset.data_root=nowhere"])


def test_runs_and_their_configs(write_config, tmp_path):
    option = "model.backbone.embed_dims=12"
    options = [option, "optim_wrapper.optimizer.lr=3", "visualizer.vis_backends=[]"]
    (entry,) = load_entries([write_config("a b")], options)
    assert (entry.name, entry.words[1]) == ("a b", option)
    runs = [Run(entry, 3, seed, tmp_path / "out") for seed in (1, 0)]
    before = entry.cfg.to_dict()
    write_configs(runs)
    write_configs(runs)
    assert entry.cfg.to_dict() == before
    first, second = (Config.fromfile(run.folder / "config.py") for run in runs)
    assert runs[0].folder == tmp_path / "out" / "a b" / "seed_1"
    assert (first.randomness.seed, second.randomness.seed) == (1, 0)
    assert first.train_cfg.max_epochs == 3 and first.optim_wrapper.optimizer.lr == 3
    assert [backend.type for backend in first.visualizer.vis_backends] == ["LocalVisBackend"]
    longer = [Run(entry, 4, seed, tmp_path / "out") for seed in (2, 1)]
    with pytest.raises(UserInputError, match="seed_1 holds a run of another configuration"):
        write_configs(longer)
    assert Config.fromfile(runs[0].folder / "config.py").train_cfg.max_epochs == 3
    assert not longer[0].folder.exists()  # nothing is begun


def camvid(*schedulers, **others):
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / "camvid.py")
    if schedulers:
        cfg.param_scheduler = list(schedulers)
    cfg.merge_from_dict(others)
    return cfg


def learning_rates(cfg, iterations=10):
    """The learning rate after each epoch, as mmengine's schedulers set it."""
    wrapper = OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = dict(scheduler)
        kind = PARAM_SCHEDULERS.get(scheduler.pop("type"))
        if scheduler.pop("convert_to_iter_based", False):
            kind, scheduler["epoch_length"] = kind.build_iter_from_epoch, iterations
        schedulers.append(kind(wrapper, **scheduler))
    rates = [wrapper.get_lr()["lr"][0]]
    for _ in range(cfg.train_cfg.max_epochs):
        for i in range(iterations):
            wrapper.optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch or i == iterations - 1:
                    scheduler.step()
        rates.append(wrapper.get_lr()["lr"][0])
    return rates


@pytest.mark.parametrize("epochs", [1, 2, 7, 110])
@pytest.mark.parametrize("converted", [True, False])
def test_every_length_starts_warm_and_ends_low(epochs, converted):
    cfg = camvid()
    for scheduler in cfg.param_scheduler:
        scheduler.convert_to_iter_based = converted
    rescale(cfg, epochs)
    rates = learning_rates(cfg)
    assert rates[0] == pytest.approx(0.05)
    if epochs > 1:  # else there is nothing but the warm-up
        assert rates[-1] < 1e-4 and (epochs == 2 or max(rates) > 0.8)
    if epochs == 110:  # its own length
        assert cfg.param_scheduler == camvid().param_scheduler or not converted


def test_schedulers_of_every_kind():
    cfg = camvid(
        dict(type="LinearLR", by_epoch=False, start_factor=0.1, end=100),
        dict(type="MultiStepLR", milestones=[60, 88, 110]),
        dict(type="CosineAnnealingLR", begin=3, end=110, T_max=107),
        dict(type="CosineAnnealingLR", T_max=55),
        dict(type="StepLR", step_size=4, end=10**9),
        dict(type="ConstantLR", begin=109),
        dict(type="LinearLR", by_epoch=False, start_factor=0.1, end=9),
    )
    rescale(cfg, 11)
    linear, steps, cosine, longer, step, *rest = cfg.param_scheduler
    assert linear.end == 10  # iterations
    assert "convert_to_iter_based" not in linear
    assert steps.milestones == [6, 9, 11]
    assert (cosine.begin, cosine.end, cosine.T_max) == (1, 11, 10)
    assert longer.T_max == round(55 / 10)
    assert (step.step_size, step.end) == (1, 10**9)
    assert [scheduler.type for scheduler in rest] == ["LinearLR"]  # the other would come too late
    assert rest[0].end == 2


def test_hooks_are_rescaled():
    switch = dict(type="wavemix_mm.SwitchOptimizerHook", last_epochs=22)
    switch["param_scheduler"] = dict(type="PolyLR", end=22)
    cfg = camvid(custom_hooks=[switch, dict(type="EMAHook", begin_epoch=55)])
    cfg.default_hooks.update(averaging=dict(type="EMAHook", begin_epoch=22), off=None)
    rescale(cfg, 10)
    switch, ema = cfg.custom_hooks
    assert (switch.last_epochs, switch.param_scheduler[0].end, ema.begin_epoch) == (2, 2, 5)
    assert cfg.default_hooks.averaging.begin_epoch == 2
    rescale(cfg, 1)
    assert cfg.custom_hooks[0].last_epochs == 1


@pytest.fixture
def start(tmp_path):
    """Runs a small program in the place of a training."""
    with lock_folder(tmp_path / "out") as lock:
        yield lambda program, *words, threads=None: _start(["-c", program, *words], lock, threads)


def test_output_arguments_and_threads(start, capfd):
    program = "import os, sys; print(sys.argv[1:], os.environ['OMP_NUM_THREADS'], file=sys.stderr)"
    start(program, "a", threads=7)
    assert capfd.readouterr().out == "['a'] 7\n"
    with pytest.raises(KeyboardInterrupt):  # the training was stopped, so the comparison stops
        start("import sys; sys.exit(75)")


@pytest.mark.parametrize(
    "program, message",
    [
        ("raise ValueError('too long')", "exit status 1: ValueError: too long"),
        ("print('error: no room'); print('bye'); exit(3)", "exit status 3: no room"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_failures(start, program, message):
    with pytest.raises(ChildError) as caught:
        start(program)
    assert str(caught.value) == message


STOPPED = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(0.2)
    print("saved", flush=True)
    pathlib.Path(sys.argv[1], "saved").touch()
    sys.exit(0)  # it ends well all the same
signal.signal(signal.SIGTERM, stop)
print("an epoch", flush=True)
time.sleep(60)
"""


def test_a_lost_output_ends_the_training_first(start, tmp_path, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left"):
            start(STOPPED, tmp_path)
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
        monkeypatch.undo()
    assert (tmp_path / "saved").exists()


def test_one_comparison_at_a_time_even_after_a_kill(tmp_path, monkeypatch):
    """The training of a comparison that was killed goes on, and the folder is locked until then."""
    out, ready = tmp_path / "out", tmp_path / "ready"
    program = "import pathlib, sys, time; path = pathlib.Path(sys.argv[1]); path.touch()\n"
    program += "while path.exists(): time.sleep(0.01)"
    message = "another comparison is running there"
    with lock_folder(out) as lock:
        training = threading.Thread(target=_start, args=(["-c", program, ready], lock, None))
        training.start()
        while not ready.exists():
            time.sleep(0.01)
    # its file is closed here, as a kill would close it
    with pytest.raises(UserInputError, match=message), lock_folder(out):
        pass
    with pytest.raises(UserInputError, match="--out .*ready: "), lock_folder(ready):
        pass
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(UserInputError, match="is not writable"), lock_folder(out):
            pass
    ready.unlink()
    training.join()
    with lock_folder(out):
        pass


def test_a_failure_is_noted_and_the_others_go_on(entries, tmp_path, capsys):
    """One of six trainings fails; the time left follows from the results so far."""
    shallow, deep = entries
    runs = [Run(e, 10, seed, tmp_path) for seed in range(3) for e in (shallow, deep)]
    failing = [runs[1]]

    def start(run):
        if run in failing:
            raise ChildError("no room")
        common = dict(time=9, data_time=9, mean_time=dict(shallow=1, deep=15)[run.entry.name])
        validation = dict(step=10, mIoU=50.0) | {"IoU.sky": float("nan")}
        lines = [common | dict(epoch=10, iter=20, step=20), common | validation]
        run.folder.mkdir(parents=True)
        (run.folder / "scalars.json").write_text(json.dumps(lines))

    *_, results = train_all(runs, start)
    assert results[1] == dict(model="deep", seed=0, epochs=10, note="no room")
    minutes = pytest.approx(1 / 3)
    found = dict(model="shallow", seed=0, epochs=10, iterations=20, minutes=minutes, mIoU=50.0)
    assert results[0] == found
    lines = capsys.readouterr().out.splitlines()
    etas = [line.rpartition("ETA ")[2] for line in lines]
    # of 20 s each; then of 20 s for one network and 300 s for the other
    assert etas == ["unknown", "0:01:40", "0:01:20", "0:01:00", "0:05:20", "0:05:00"]
    assert lines[1].startswith("[2/6] deep, seed 0: training 10 epochs in ")

    failing.clear()
    *_, again = train_all(runs, start)
    assert again[1]["mIoU"] == 50.0 and again[0] == results[0]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/6] shallow, seed 0: done before"
    assert lines[1].endswith("ETA 0:00:20")

    (runs[0].folder / "scalars.json").write_text("[]")
    assert next(train_all(runs, start))[0]["note"] == "the training wrote no mIoU"


def test_costs(entries, monkeypatch):
    """One image of a size for latency, batches of the training's size for the others."""
    seen = []

    def measure(candidates, settings, on_step):
        seen.append((settings.batch, settings.train_batch, settings.with_memory))
        value = 10 * settings.batch
        keys = ("parameters", "macs", "latency_ms", "images_per_s", "train_images_per_s")
        measured = dict.fromkeys((*keys, "memory_mib", "train_memory_mib"), value)
        return [measured | dict(model=one.name, note=str(one.size)) for one in candidates]

    monkeypatch.setattr(report, "measure", measure)
    shallow = replace(inspect_model(entries[0].words), name="shallow")
    comparison = Comparison("mIoU", "2 images of 32x48", {})
    comparison.measure([shallow], (64, 96), Settings(2, 2))
    assert seen == [(1, 0, False), (2, 2, True)]
    one_image = dict(size="64x96", parameters=10, macs=10, latency_ms=10)
    batches = dict(images_per_s=20, train_images_per_s=20, memory_mib=20, train_memory_mib=20)
    assert comparison.costs == dict(shallow=one_image | batches | dict(note="(64, 96); (32, 48)"))


def result(name, seed, miou, **iou):
    values = {f"IoU.{key}": value for key, value in iou.items()}
    return dict(model=name, seed=seed, epochs=40, iterations=9, minutes=1.5, mIoU=miou, **values)


def test_report(tmp_path):
    costs = dict(parameters=1_500_000, macs=2e9, latency_ms=12.3456, size="320x320")
    costs |= dict(images_per_s=80.0, train_images_per_s=30.0, memory_mib=100.0)
    costs |= dict(train_memory_mib=1234.5)
    others = dict(B=dict(parameters=30_000_000, note="training: ValueError"), C=dict(parameters=7))
    facts = dict(command="python compare.py a.py")
    comparison = Comparison("mIoU", "4 images of 320x320", dict(A=costs) | others, facts)
    comparison.write(tmp_path)  # before the first result
    assert "| A | 0 | 1.50 |" in (tmp_path / "results.md").read_text()
    assert not (tmp_path / "results.png").exists()

    comparison.results = [
        result("A", 0, 50.0, sky=90.0),
        result("A", 1, 51.0, sky=92.0, car=20.0),
        result("B", 0, 60.0, sky=95.0, car=30.0),
        dict(model="C", seed=0, epochs=40, note="exit status 1: no | room"),
    ]
    comparison.write(tmp_path)
    text = (tmp_path / "results.md").read_text()
    head, _, a, b, c = [line for line in text.splitlines() if line.startswith("|")][:5]
    assert head.startswith("| model | mIoU | seeds | epochs | training, min | parameters, M |")
    deviation = np.std([50, 51], ddof=1)
    cells = f"| A | 50.50 ± {deviation:.2f} | 2 | 40 | 1.50 ± 0.00 | 1.50 | 2 | 12.3 | 80 | 30 |"
    assert a == f"{cells} 100 | 1,234 |"
    assert b.startswith("| B | 60.00 | 1 | 40 |") and c.startswith("| C | - | 0 | - | - |")
    assert "| IoU of each class | sky | car |" in text
    assert "| A | 91.0 ± 1.4 | 20.0 |" in text and "| B | 95.0 | 30.0 |" in text
    assert "- C, seed 0: exit status 1: no | room" in text and "- B: training: ValueError" in text
    assert "- command: python compare.py a.py" in text
    assert "one image of 320x320" in text and "batches of 4 images of 320x320" in text
    rows = read_rows(tmp_path / "results.csv")
    assert [row["model"] + row["seed"] for row in rows] == ["A0", "A1", "B0", "C0"]
    assert (rows[0]["minutes"], rows[0]["mIoU"], rows[0]["latency_ms"]) == ("1.5", "50", "12.3456")
    assert (rows[0]["IoU.sky"], rows[0]["IoU.car"], rows[3]["mIoU"]) == ("90", "", "")
    assert "room" in rows[3]["note"] and rows[2]["note"] == "training: ValueError"
    assert cv2.imread(str(tmp_path / "results.png")).shape[1] > 1000
    assert len(list(tmp_path.iterdir())) == 3
