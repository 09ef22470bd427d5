"""tools/analysis_tools/benchmark.py."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "benchmark.py"
sys.path.insert(0, str(TOOL.parent))

import benchmark  # noqa: E402

from wavemix_mm.analysis.benchmark.results import Row  # noqa: E402

TINY = (
    f"{ROOT}/configs/wavemix/cifar10.py name=tiny model.backbone.embed_dims=8 "
    "model.backbone.depth=1 model.backbone.levels=1 model.head.in_channels=8"
)
FAST = [
    *("--batch-size", "2", "--rounds", "2", "--round-seconds", "0", "--warmup", "1"),
    *("--device", "cpu", "--matmul-side", "16", "--compile-backend", "eager"),
]


@pytest.fixture
def run(tmp_path):
    """Run the tool in this process, and return the rows that it wrote."""

    def run(*args):
        folder = tmp_path / "out"
        benchmark.main([*args, *FAST, "--out", str(folder)])
        assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "results.md").read_text().count("| tiny") > 0
        with open(folder / "results.csv", newline="") as file:
            return list(csv.DictReader(file))

    return run


def test_pair(run, capsys):
    modes = ["eager", "compiled", "deploy", "deploy+compiled"]
    options = ["--dtype", "float32", "bfloat16", "--mode", *modes, "--no-memory", "--size", "16"]
    rows = run(TINY, "--pair", "official", *options)
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Row)]
    runs = [(row["model"], row["dtype"], row["mode"]) for row in rows]
    dtypes = ["float32", "bfloat16"]
    assert runs[:2] == [("tiny, authors", dtype, "eager") for dtype in dtypes]
    assert runs[2:] == [("tiny", dtype, mode) for dtype in dtypes for mode in modes]
    for row in rows:
        assert row["reference"] == "tiny, authors, float32, eager, NCHW" and not row["note"]
        assert float(row["latency_ms"]) > 0 and float(row["speedup"]) > 0
        assert float(row["difference"]) <= (1e-5 if row["dtype"] == "float32" else 2e-2)
        assert bool(row["train_ms"]) == (not row["mode"].startswith("deploy"))
    out = capsys.readouterr().out
    for text in ("versions: torch", "processor:", "matrix product, bfloat16:", "GFLOP/s"):
        assert text in out


def test_several_models_against_one(run, tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("torchvision:squeezenet1_1 name=small num_classes=4\n")
    rows = run(
        "--models-from", str(path), "--against", TINY, "--size", "32x64", "--no-memory",
        "--train-batch-size", "0", "--no-channels-last",
    )  # fmt: skip
    assert [row["model"] for row in rows] == ["tiny", "small"]
    for row in rows:
        assert (row["height"], row["width"], row["channels_last"]) == ("32", "64", "False")
        assert float(row["speedup"]) > 0 and not row["train_ms"] and not row["memory_mib"]


def test_scan(run, capsys):
    sizes = ["--sizes", "32x16", "16x16", "32", "--depths", "1", "2"]
    rows = run(TINY, "--scan", *sizes, "--no-memory")
    points = [(int(row["height"]), int(row["width"]), int(row["depth"])) for row in rows]
    assert points == [(16, 16, 1), (32, 16, 1), (32, 32, 1), (32, 32, 2)]
    out = capsys.readouterr().out
    assert "| tiny, float32, eager | inference time | pixels | 256 | 1,024 |" in out
    assert "| tiny, float32, eager | training time | depth | 1 | 2 |" in out


def test_what_was_measured_is_there_when_a_later_model_fails(run, tmp_path, monkeypatch):
    from wavemix_mm.analysis.benchmark import session

    measure = session.measure

    def interrupted(group, settings, progress):
        if group.name == "second":
            raise KeyboardInterrupt
        return measure(group, settings, progress)

    monkeypatch.setattr(session, "measure", interrupted)
    second = TINY.replace("name=tiny", "name=second")
    with pytest.raises(KeyboardInterrupt):
        run(TINY, second, "--size", "16", "--train-batch-size", "0")
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["model"] == "tiny" and float(row["memory_mib"]) > 0.1
    with pytest.raises(SystemExit, match="holds results already"):
        run(TINY)


def test_a_model_that_cannot_be_measured_ends_with_an_error(run):
    with pytest.raises(SystemExit) as error:
        run(TINY, "torchvision:mobilenet_v3_small", "--no-memory", "--size", "32",
            "--train-batch-size", "1")  # fmt: skip
    first, *rest = str(error.value).splitlines()
    assert first == "error: not measured:" and len(rest) == 1
    assert "torchvision:mobilenet_v3_small, float32, eager: training: ValueError" in rest[0]


@pytest.mark.parametrize(
    "args, message",
    [
        (["citiscapes"], "error: model 'citiscapes' is not the path of a config"),
        (["torchvision:resnet1"], "error: model 'torchvision:resnet1' cannot be built"),
        (["configs/no.py"], "error: config configs/no.py does not exist"),
        (["cityscapes", "--against", "none"], "error: model 'none' is not"),
        (["cityscapes", "--models-from", "no.txt"], "error: list no.txt: No such file"),
        (["resnet18_8xb32_in1k", "--pair", "official"], "has no counterpart"),
        ([TINY, "--memory-budget", "1e6"], "error: --memory-budget 1e+06: only"),
    ],
)
def test_mistakes_are_one_sentence(args, message, tmp_path):
    with pytest.raises(SystemExit) as error:
        benchmark.main([*args, *FAST, "--out", str(tmp_path)])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "name a MODEL"),
        (["a", "--size", "3x"], "'3x' is not HxW"),
        (["a", "--sizes", "3"], "need --scan"),
        (["a", "--batch-size", "0"], "0 is below 1"),
        (["a", "--rounds", "two"], "invalid whole number value: 'two'"),
        (["a", "--memory-budget", "0"], "must be above 0"),
        (["a", "--scan", "--pair", "official"], "not allowed with"),
    ],
)
def test_command_line(args, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(args)
    assert message in capsys.readouterr().err


def test_as_a_user_runs_it(tmp_path):
    command = [sys.executable, str(TOOL), "no-such-model"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: model 'no-such-model' is not")
    assert "Traceback" not in result.stderr
