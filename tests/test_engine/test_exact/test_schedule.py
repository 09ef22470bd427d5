"""The log names what has changed in the schedule of a run since its checkpoint."""

import pytest
import tiny_run

STEPS = dict(type="MultiStepLR", by_epoch=True, milestones=[2, 3], gamma=0.1, end=3)
COSINE = dict(type="CosineAnnealingLR", by_epoch=True, T_max=3, end=3)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dict(), []),
        (dict(max_epochs=4), ["max_epochs is 4 in the config and was 3 when"]),
        (
            dict(param_scheduler=[STEPS | dict(milestones=[1, 3, 3]), COSINE]),
            ["MultiStepLR goes on as in the checkpoint: milestones is [1, 3, 3] in the config and "
             "[2, 3] in the checkpoint."],
        ),
        (
            dict(max_epochs=5, param_scheduler=[STEPS, COSINE | dict(T_max=5, end=5)]),
            ["max_epochs is 5", "T_max is 5 in the config and 3 in the checkpoint, end is 5"],
        ),
        (
            dict(param_scheduler=[STEPS]),
            ["the number of schedulers is 1 in the config and 2 in the checkpoint"],
        ),
    ],
)  # fmt: skip
def test_changed_schedule(tmp_path, capsys, change, expected):
    base = dict(max_epochs=3, param_scheduler=[STEPS, COSINE])
    tiny_run.train(tiny_run.config(tmp_path, **base))
    said = resume_and_listen(tmp_path, "epoch_1.pth", capsys, **(base | change))
    assert len(said) == len(expected), said
    for line, part in zip(said, expected, strict=True):
        assert part in line and line.endswith(".")


def resume_and_listen(work_dir, checkpoint, capsys, **config):
    """The log's lines about the schedule."""
    path = str(work_dir / checkpoint)
    cfg = tiny_run.config(work_dir, **(dict(resume=True, load_from=path) | config))
    capsys.readouterr()
    tiny_run.train(cfg)
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if "in the config and" in line]


def test_changed_number_of_iterations(tmp_path, capsys):
    hook = dict(by_epoch=False, interval=2)
    tiny_run.train(tiny_run.config(tmp_path, hook, **tiny_run.iteration_based(4)))
    (said,) = resume_and_listen(
        tmp_path, "iter_2.pth", capsys, hook=hook, **tiny_run.iteration_based(6)
    )
    assert "max_iters is 6 in the config and was 4" in said


def test_weights_to_start_from_are_not_compared(tmp_path, capsys):
    tiny_run.train(tiny_run.config(tmp_path, max_epochs=1))
    assert not resume_and_listen(tmp_path, "epoch_1.pth", capsys, max_epochs=2, resume=False)
