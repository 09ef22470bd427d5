"""wavemix_mm/analysis/benchmark/groups.py and session.py."""

import pytest
import torch

from wavemix_mm.analysis.benchmark import session
from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.analysis.benchmark.groups import (
    Settings,
    Ways,
    counterpart,
    inspect,
    make_groups,
)
from wavemix_mm.analysis.benchmark.specs import parse_spec
from wavemix_mm.errors import UserInputError

SETTINGS = Settings(
    batch=2, train_batch=2, rounds=2, round_seconds=0, warmup=1, with_memory=False,
    ceilings={"float32": 1e9},
)  # fmt: skip
WAYS = Ways(["float32"], ["eager"], None, Candidate("", compile_backend="eager"))


@pytest.fixture
def subject(tiny):
    return inspect(parse_spec(tiny), (16, 16))


def test_subject(subject, tiny):
    assert (subject.size, subject.depth, subject.is_authors) == ((16, 16), 1, False)
    assert subject.can_deploy
    theirs = counterpart(subject)
    assert theirs.is_authors and not theirs.can_deploy
    assert theirs.parameters == subject.parameters


def test_ways(subject):
    modes = ["eager", "deploy", "deploy+compiled"]
    ways = Ways(["float32", "bfloat16"], modes, None, Candidate(""))
    (group,) = make_groups([subject], ways, [counterpart(subject)])
    runs = [(s.is_authors, c.dtype, c.mode, c.channels_last) for s, c in group.members]
    # the authors' as it is shipped
    theirs = [(True, "float32", "eager", False), (True, "bfloat16", "eager", False)]
    ours = [(False, dtype, mode, True) for dtype in ("float32", "bfloat16") for mode in modes]
    assert runs == theirs + ours
    other = inspect(parse_spec("torchvision:squeezenet1_1"), (64, 64))
    (group,) = make_groups([other], ways, against=subject)
    unfolded = [c.mode for s, c in group.members if s is other]
    assert unfolded == ["eager", "compiled"] * 2  # nothing to fold
    assert group.members[0][0] is subject and group.name == "torchvision:squeezenet1_1"


def test_a_pair_with_equal_weights(subject):
    ways = Ways(["float32", "bfloat16"], ["eager", "deploy", "compiled"], None, WAYS.template)
    (group,) = make_groups([subject], ways, [counterpart(subject)])
    phases = []
    rows = session.measure(group, SETTINGS, lambda phase, fraction: phases.append(fraction))
    assert [row.note for row in rows] == [""] * 8
    assert phases == sorted(phases) and phases[0] >= 0 and phases[-1] <= 1
    for row in rows:
        assert row.reference == rows[0].label
        assert row.difference <= session.TOLERANCES[row.dtype]
        assert row.latency_ms > 0 and row.latency_p95_ms >= row.latency_ms
        assert row.images_per_s == pytest.approx(2e3 / row.latency_ms)
        assert row.speedup_low <= row.speedup <= row.speedup_high
        # a folded network cannot be trained
        assert (row.train_ms is None) == (row.mode == "deploy")
    assert rows[0].speedup == 1 and rows[0].difference == 0
    # 1e9 multiply-adds a second are the ceiling
    assert rows[0].share == pytest.approx(rows[0].macs * rows[0].images_per_s / 1e9)
    assert rows[0].train_share == pytest.approx(3 * rows[0].macs * rows[0].train_images_per_s / 1e9)


@pytest.mark.parametrize("damage", [0.05, float("nan")])
def test_unequal_outputs_are_refused(subject, damage, monkeypatch):
    convert = session.convert_official

    def damaged(state):
        state = convert(state)
        return state | {"head.fc.bias": state["head.fc.bias"] + damage}

    monkeypatch.setattr(session, "convert_official", damaged)
    (group,) = make_groups([subject], WAYS, [counterpart(subject)])
    with pytest.raises(UserInputError, match="tiny, float32, eager: the output differs"):
        session.measure(group, SETTINGS)


def test_one_model_that_fails_loses_nothing_else(subject, tiny):
    # no batch norm over one value: this one cannot be trained with one image
    other = inspect(parse_spec("torchvision:mobilenet_v3_small num_classes=4"), (32, 32))
    (group,) = make_groups([other], WAYS, against=subject)
    settings = Settings(train_batch=1, rounds=1, round_seconds=0, warmup=1, with_memory=False)
    ours, theirs = session.measure(group, settings)
    assert not ours.note and ours.train_ms > 0 and ours.reference == ours.label
    assert theirs.note.startswith("training: ValueError: Expected more than 1 value per channel")
    assert theirs.train_ms is None and theirs.latency_ms > 0 and theirs.speedup > 0


def test_float16_and_cast_weights(subject):
    template = Candidate("", cast_weights=True)
    (group,) = make_groups(
        [subject], Ways(["float16"], ["eager", "deploy"], True, template), [counterpart(subject)]
    )
    rows = session.measure(group, SETTINGS)
    assert [row.note for row in rows] == [""] * 4
    assert [row.cast_weights for row in rows] == [False, False, True, True]
    assert [row.runs_as for row in rows] == [
        "float32, eager",
        "float16, eager",
        "float16 weights, eager",
        "float16 weights, deploy",
    ]


def test_memory_and_largest_batch(subject, monkeypatch):
    need = {True: 1000, False: 100}

    def peak_memory(job):
        peak = need[job.is_training] * job.batch * 2**20
        return None if job.budget is not None and peak > job.budget else peak

    monkeypatch.setattr(session.memory, "peak_memory", peak_memory)
    (group,) = make_groups([subject], Ways(["float32"], ["eager", "deploy"], None, Candidate("")))
    settings = Settings(
        batch=3, train_batch=2, rounds=1, round_seconds=0, budget=7 * 1000 * 2**20, ceilings={}
    )
    eager, deploy = session.measure(group, settings)
    assert (eager.memory_mib, eager.train_memory_mib, eager.largest_batch) == (300, 2000, 7)
    assert (deploy.memory_mib, deploy.train_memory_mib, deploy.largest_batch) == (300, None, None)
    assert eager.memory_budget_gib == pytest.approx(7000 / 1024)
    assert eager.share is None


def test_equal_weights_survive_tf32_settings(subject):
    allowed = torch.backends.cudnn.allow_tf32
    (group,) = make_groups([subject], WAYS, [counterpart(subject)])
    session.measure(group, SETTINGS)
    assert torch.backends.cudnn.allow_tf32 == allowed
