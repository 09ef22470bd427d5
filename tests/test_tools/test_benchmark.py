"""tools/analysis_tools/benchmark.py and measuring/session.py."""

import functools
from dataclasses import replace

import benchmark
import pytest
import torch
from measuring import candidates, memory, session
from measuring.candidates import inspect_model
from measuring.session import Settings, measure
from test_measuring import TINY, read_rows

FAST = ["--batch-size", "2", "--rounds", "2", "--round-seconds", "0", "--device", "cpu"]
FAST += ["--no-memory"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small matrices for the ceiling, and compiled networks without a compiler."""
    monkeypatch.setitem(candidates.MATMUL_SIDE, "cpu", 16)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


@pytest.fixture
def run(tmp_path):
    """Run the tool in this process, and return the rows that it wrote."""

    def run(*args):
        folder = tmp_path / "out"
        try:
            benchmark.main([*args, *FAST, "--out", str(folder)])
        finally:
            if (folder / "results.csv").exists():
                assert (folder / "results.md").read_text().count("| tiny") > 0
                run.rows = read_rows(folder / "results.csv")
        return run.rows

    return run


def test_pair(run, capsys):
    modes = ["eager", "compiled", "deploy+compiled"]
    options = ["--dtype", "float32", "bfloat16", "--mode", *modes, "--size", "16"]
    rows = run(*TINY, "--pair", "official", *options)
    runs = [(row["model"], row["dtype"], row["mode"]) for row in rows]
    dtypes = ["float32", "bfloat16"]
    assert runs[:2] == [("tiny, authors", dtype, "eager") for dtype in dtypes]
    assert runs[2:] == [("tiny", dtype, mode) for dtype in dtypes for mode in modes]
    for row in rows:
        assert row["reference"] == "tiny, authors, float32, eager, NCHW" and "note" not in row
        assert 0 < float(row["latency_ms"]) <= float(row["latency_p95_ms"])
        assert float(row["speedup_low"]) <= float(row["speedup"]) <= float(row["speedup_high"])
        assert float(row["difference"]) <= (1e-5 if row["dtype"] == "float32" else 2e-2)
        # a folded network cannot be trained
        assert bool(row["train_ms"]) == (not row["mode"].startswith("deploy"))
    assert float(rows[0]["speedup"]) == 1 and float(rows[0]["difference"]) == 0
    out = capsys.readouterr().out
    for text in ("versions: torch", "processor:", "matrix product, bfloat16:", "GFLOP/s"):
        assert text in out


def test_several_models_and_sizes_against_one(run, tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("torchvision:squeezenet1_1 name=small num_classes=4\n")
    rows = run(
        "--models-from", str(path), "--against", " ".join(TINY), "--size", "32x64", "64",
        "--train-batch-size", "0", "--mode", "eager", "deploy",
    )  # fmt: skip
    # the small one has nothing to fold
    runs = [(row["model"], row["mode"]) for row in rows]
    assert runs == 2 * [("tiny", "eager"), ("tiny", "deploy"), ("small", "eager")]
    assert [(row["height"], row["width"]) for row in rows] == 3 * [("32", "64")] + 3 * [
        ("64", "64")
    ]
    for row in rows:
        assert float(row["speedup"]) > 0 and "train_ms" not in row and "memory_mib" not in row
    for before, row in zip(rows[:3], rows[3:], strict=True):  # from one size to the next
        ratio = float(row["latency_ms"]) / float(before["latency_ms"])
        assert not before["growth"] and 2 ** float(row["growth"]) == pytest.approx(ratio, rel=1e-4)


def test_what_was_measured_is_there_when_a_later_model_is_interrupted(run, monkeypatch):
    def interrupted(group, *args, **kwargs):
        if group[-1].name == "second":
            raise KeyboardInterrupt
        return measure(group, *args, **kwargs)

    monkeypatch.setattr(benchmark, "measure", interrupted)
    second = [word.replace("tiny", "second") for word in TINY]
    with pytest.raises(KeyboardInterrupt):
        run(*TINY, *second, "--size", "16", "--train-batch-size", "0")
    assert run.rows[0]["model"] == "tiny" and float(run.rows[0]["latency_ms"]) > 0
    with pytest.raises(SystemExit, match="holds results already"):
        run(*TINY)


def test_a_model_that_cannot_be_measured_loses_nothing_else(run):
    # no batch norm over one value: this one cannot be trained with one image
    with pytest.raises(SystemExit) as error:
        run("torchvision:mobilenet_v3_small", "--against", " ".join(TINY), "--size", "32",
            "--train-batch-size", "1")  # fmt: skip
    first, *rest = str(error.value).splitlines()
    assert first == "error: not measured:" and len(rest) == 1
    note = "training: ValueError: Expected more than 1 value per channel"
    assert f"torchvision:mobilenet_v3_small, float32, eager: {note}" in rest[0]
    ours, theirs = run.rows
    assert ours["train_ms"] and not ours["note"] and theirs["note"].startswith(note)
    assert theirs["latency_ms"] and theirs["speedup"] and not theirs["train_ms"]


@pytest.mark.parametrize("damage", [0.05, float("nan")])
def test_unequal_outputs_are_refused(run, damage, monkeypatch):
    convert = candidates.convert_official

    def damaged(state):
        state = convert(state)
        return state | {"head.fc.bias": state["head.fc.bias"] + damage}

    monkeypatch.setattr(candidates, "convert_official", damaged)
    allowed = torch.backends.cudnn.allow_tf32
    with pytest.raises(SystemExit, match="tiny, float32, eager: the output differs") as error:
        run(*TINY, "--pair", "official", "--size", "16")
    assert "no times are compared" in str(error.value)
    assert torch.backends.cudnn.allow_tf32 == allowed


def test_shares_memory_and_largest_batch(monkeypatch):
    def peak_memory(candidate, batch, is_training, budget=None):
        if candidate.is_deploy:
            raise RuntimeError("killed")
        peak = (1000 if is_training else 100) * batch * memory.MIB
        return peak

    monkeypatch.setattr(session.memory, "peak_memory", peak_memory)
    model = inspect_model(TINY, (16, 16), dtype="float16", cast_weights=True)
    ways = [model, replace(model, mode="deploy"), replace(model, dtype="float32")]
    settings = Settings(3, 2, 1, 0, True, 7000 * memory.MIB, {"float16": 1e9})
    steps = []
    eager, deploy, plain = measure(ways, settings, steps.append)
    assert len(steps) == settings.count_steps(3) - 1  # one is not trained
    runs = [row["runs_as"] for row in (eager, deploy, plain)]
    assert runs == ["float16 weights, eager", "float16 weights, deploy", "float32, eager"]
    assert eager["images_per_s"] == pytest.approx(3e3 / eager["latency_ms"])
    assert eager["share"] == pytest.approx(eager["macs"] * eager["images_per_s"] / 1e9)
    passes = 3 * eager["train_images_per_s"]
    assert eager["train_share"] == pytest.approx(eager["macs"] * passes / 1e9)
    assert "share" not in plain
    assert "train_ms" not in deploy and deploy["macs"] < eager["macs"]
    assert deploy["note"] == "inference memory: RuntimeError: killed." and deploy["latency_ms"] > 0
    found = (eager["memory_mib"], eager["train_memory_mib"], eager["largest_batch"])
    assert found == (300, 2000, 7)
    assert eager["memory_budget_gib"] == pytest.approx(7000 / 1024)


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "name a MODEL"),
        ("a --size 3x", "'3x' is not HxW"),
        ("a --batch-size 0", "0 is below 1"),
        ("a --rounds two", "invalid whole number value: 'two'"),
        ("a --memory-budget 0", "0 is not above 0"),
        ("mnist --against none", "error: model 'none' is neither the path of a config"),
        ("mnist --models-from no.txt", "error: list no.txt: No such file"),
        ("mnist --memory-budget 1e6", "error: --memory-budget 1e+06: only"),
    ],
)
def test_mistakes_are_one_message(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main([*words.split(), "--no-memory", "--out", str(tmp_path)])
    assert message in f"{capsys.readouterr().err}{error.value}" and "\n" not in str(error.value)
