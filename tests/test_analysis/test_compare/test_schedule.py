"""wavemix_mm/analysis/compare/schedule.py."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from wavemix_mm.analysis.compare.schedule import make_probe, make_run, rescale

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "wavemix"


def camvid(*schedulers, **others):
    cfg = Config.fromfile(CONFIGS / "camvid.py")
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


def test_camvid_at_half_its_length():
    cfg = camvid()
    rescale(cfg, 55)
    warm_up, decay = cfg.param_scheduler
    assert (warm_up.end, decay.begin, decay.end) == (2, 2, 55)
    assert cfg.train_cfg == dict(by_epoch=True, max_epochs=55, val_interval=55)
    assert cfg.max_epochs == 55
    rates = learning_rates(cfg)
    assert max(rates) == pytest.approx(rates[2]) == pytest.approx(1, abs=0.05)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("epochs", [1, 2, 7, 110, 1000])
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


def test_the_same_length_changes_nothing_but_the_validation():
    cfg, same = camvid(), camvid()
    rescale(same, 110)
    cfg.train_cfg.val_interval = 110
    assert same.to_dict() == cfg.to_dict()


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


def test_hooks():
    hooks = [
        dict(
            type="wavemix_mm.SwitchOptimizerHook",
            last_epochs=22,
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3)),
            param_scheduler=dict(type="PolyLR", end=22),
        ),
        dict(type="EMAHook", begin_epoch=55),
    ]
    cfg = camvid(custom_hooks=hooks)
    cfg.default_hooks.update(averaging=dict(type="EMAHook", begin_epoch=22), off=None)
    rescale(cfg, 10)
    switch, ema = cfg.custom_hooks
    assert (switch.last_epochs, switch.param_scheduler[0].end, ema.begin_epoch) == (2, 2, 5)
    assert cfg.default_hooks.averaging.begin_epoch == 2
    rescale(cfg, 1)
    assert cfg.custom_hooks[0].last_epochs == 1


def test_a_run_tests_the_validation_set_and_keeps_the_last():
    cfg = camvid(**{"test_dataloader.dataset.data_prefix.img_path": "img_dir/test"})
    before = cfg.to_dict()
    run = make_run(cfg, 5, seed=3)
    assert run.randomness.seed == 3 and run.train_cfg.max_epochs == 5
    assert run.test_dataloader == run.val_dataloader
    assert run.test_evaluator.type == "wavemix_mm.PerClassIoUMetric"
    assert run.test_evaluator.ignore_index == 11 and run.val_evaluator.type == "IoUMetric"
    checkpoint = run.default_hooks.checkpoint
    assert checkpoint.max_keep_ckpts == 1 and "save_best" not in checkpoint
    assert cfg.to_dict() == before
    probe = make_probe(cfg)
    assert probe.train_cfg.max_epochs == 1 and probe.val_dataloader is None
