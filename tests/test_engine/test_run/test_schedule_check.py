"""Batches, validations and schedulers against the length of the run."""

import pytest
from mmengine.config import Config

from wavemix_mm.engine.run import schedule_check

SWITCH = dict(type="wavemix_mm.SwitchOptimizerHook", last_epochs=4)


def found(num_samples=None, **config):
    cfg = Config(dict(train_cfg=dict(max_epochs=10)) | config)
    findings = schedule_check.find_schedule_errors(cfg, num_samples)
    return [(finding.text, finding.is_error) for finding in findings]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (dict(end=4, begin=4), "ends at 4, but begins at 4."),
        (dict(begin=12), "begins at 12, but max_epochs=10."),
        (dict(begin=12, end=20), "begins at 12, but max_epochs=10."),
        (dict(end=30), "ends at 30, but max_epochs=10: it does not reach its end."),
        (dict(end=8), "ends at 8, but max_epochs=10: the rate then stays as it is."),
        (dict(milestones=[5, 10, 20]), "has the milestones [10, 20], but max_epochs=10: it does "
         "not reach them."),
        (dict(T_max=30), "has T_max=30, but takes 10 steps (max_epochs=10)."),
        (dict(T_max=10, begin=2), "has T_max=10, but takes 8 steps (max_epochs=10)."),
        # 10 epochs of 3 batches
        (dict(by_epoch=False, end=50), "ends at 50, but max_epochs=10 is 30 iterations: it does "
         "not reach its end."),
        (dict(by_epoch=False, end=20), "ends at 20, but max_epochs=10 is 30 iterations: the rate "
         "then stays as it is."),
    ],
)  # fmt: skip
def test_scheduler(scheduler, expected):
    loader = dict(batch_size=2)
    scheduler = dict(type="mmengine.PolyLR") | scheduler
    for given in (scheduler, [scheduler]):
        ((text, is_error),) = found(5, param_scheduler=given, train_dataloader=loader)
        assert text == f"param_scheduler PolyLR {expected}"
        # mmengine raises an error if it begins at its end, which is the end of the run by default
        assert is_error == (scheduler.get("begin", 0) >= scheduler.get("end", 10))


def test_schedulers_that_fit():
    warmup = dict(type="LinearLR", end=3)
    for schedulers in (
        [warmup],
        [warmup, dict(type="CosineAnnealingLR", begin=3, T_max=7)],
        [warmup, dict(type="PolyLR", begin=3, end=10), dict(type="MultiStepLR", milestones=[9])],
        [dict(type="PolyLR", by_epoch=False, end=99)],  # the number of iterations is unknown
        dict(generator=[dict(type="PolyLR", end=99)]),
        None,
    ):
        assert found(param_scheduler=schedulers) == []


def test_the_switch_of_the_optimizer_ends_the_schedule():
    def texts(end, **hook):
        scheduler = dict(type="PolyLR", end=end)
        return [text for text, _ in found(param_scheduler=scheduler, custom_hooks=[SWITCH | hook])]

    assert texts(6) == []
    for end, result in ((10, "it does not reach its end"), (5, "the rate then stays as it is")):
        assert texts(end) == [
            f"param_scheduler PolyLR ends at {end}, but SwitchOptimizerHook changes the schedule "
            f"after epoch 6: {result}."
        ]
    assert texts(6, last_epochs=None, switch_epoch=6) == []
    assert texts(10, last_epochs=50) == []  # the run is too short for the switch


def test_epochs_in_a_run_that_counts_iterations():
    train_cfg = dict(type="IterBasedTrainLoop", max_iters=100, val_interval=50)
    scheduler = dict(type="PolyLR", end=100)
    (text,) = found(train_cfg=train_cfg, param_scheduler=scheduler)
    assert text[0].startswith(
        "param_scheduler PolyLR counts epochs, but the run iterations: it never"
    )
    assert found(train_cfg=train_cfg, param_scheduler=scheduler | dict(by_epoch=False)) == []


@pytest.mark.parametrize(
    ("train_cfg", "expected"),
    [
        (dict(max_epochs=2, val_interval=3), "val_interval=3 is greater than max_epochs=2: only "
         "the end is validated."),
        (dict(max_epochs=2, val_begin=3), "val_begin=3 is greater than max_epochs=2: nothing is "
         "validated."),
        (dict(max_iters=20, val_interval=21), "val_interval=21 is greater than max_iters=20: only "
         "the end is validated."),
        (dict(max_epochs=0), "max_epochs=0: nothing is trained."),
    ],
)  # fmt: skip
def test_validation(train_cfg, expected):
    ((text, is_error),) = found(train_cfg=train_cfg, val_dataloader=dict())
    assert text == f"train_cfg.{expected}" and is_error == ("max_epochs=0" in text)
    assert found(train_cfg=dict(max_epochs=2, val_interval=2), val_dataloader=dict()) == []
    assert found(train_cfg=dict(max_epochs=2, val_interval=3)) == []


@pytest.mark.parametrize(
    ("num_samples", "processes", "drop_last", "expected"),
    [
        (0, 1, False, 1),
        (3, 1, True, 3),
        (3, 1, False, None),
        (4, 1, True, None),
        (6, 2, True, 3),
        (7, 2, True, None),  # one is taken twice
    ],
)
def test_no_batch(num_samples, processes, drop_last, expected, monkeypatch):
    monkeypatch.setattr(schedule_check, "get_world_size", lambda: processes)
    texts = found(num_samples, train_dataloader=dict(batch_size=4, drop_last=drop_last))
    if expected is None:
        assert texts == []
    else:
        ((text, is_error),) = texts
        each = " in each of 2 processes" if processes == 2 else ""
        assert is_error and text == (
            f"train_dataloader has no batch: {num_samples} images, batch_size=4{each} and "
            f"drop_last={drop_last}. Set batch_size to at most {expected}."
        )
