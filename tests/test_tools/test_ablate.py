"""tools/analysis_tools/ablate.py: a report beside a reference."""

from pathlib import Path

import ablate
import compare
import cv2
from comparing import runs
from comparing.report import Ablation
from mmengine.config import Config
from test_compare import OPTIONS, start_here
from test_measuring import read_rows


def test_an_ablation_from_start_to_end(tmp_path, config_text, monkeypatch, capfd):
    first, second, out = (tmp_path / name for name in ("haar.py", "mixer_pool.py", "out"))
    first.write_text(config_text)
    mixer = dict(type="wavemix_mm.MaxPoolMixer")
    second.write_text(f"_base_ = ['haar.py']\nmodel = dict(backbone=dict(token_mixer={mixer}))\n")
    monkeypatch.setattr(runs, "_start", start_here)
    arguments = [str(first), str(second), "--out", str(out), "--seeds", "0", "--epochs", "2"]
    ablate.main([*arguments, *OPTIONS])
    assert "[2/2] mixer_pool, seed 0: training 2 epochs" in capfd.readouterr().out
    haar, pool = read_rows(out / "summary.csv")
    assert (haar["model"], haar["seeds"], haar["difference"]) == ("haar", "1", "0")
    assert (haar["time_ratio"], haar.get("deviation", "")) == ("1", "")
    assert float(pool["epoch_s"]) > 0 and float(pool["time_ratio"]) > 0
    assert int(pool["parameters"]) == int(haar["parameters"]) + 8 * 6 + 6  # Eq. 1 to 8, not 2
    assert [row["model"] for row in read_rows(out / "results.csv")] == ["haar", "mixer_pool"]
    assert "- budget: 2 epochs each" in (out / "results.md").read_text()


def run(name, seed, accuracy):
    row = dict(model=name, seed=seed, epochs=2, iterations=10, minutes=1.0)
    return row | ({"accuracy/top1": accuracy} if accuracy else dict(note="no room"))


def test_report(tmp_path):
    names = ("haar", "wavelet_db2", "mixer_dft", "mixer_none")
    costs = {name: dict(parameters=1000) for name in names}
    report = Ablation("accuracy/top1", "4 images of 32x32", costs, dict(command="ablate.py"))
    report.write(tmp_path)  # before the first result
    assert not (tmp_path / "results.png").exists()
    report.results = [
        *(run("haar", 0, 50.0), run("wavelet_db2", 0, 48.0), run("mixer_dft", 0, 40.0)),
        *(run("haar", 1, 54.0), run("wavelet_db2", 1, 51.0), run("mixer_none", 0, None)),
        run("haar", 2, 90.0),
    ]
    report.write(tmp_path)  # before the costs are measured
    narrow = cv2.imread(str(tmp_path / "results.png")).shape[1]
    measured = dict(train_ms=20.0, train_speedup=1.0, train_memory_mib=100.0)
    report.costs["haar"] |= measured
    report.costs["wavelet_db2"] |= dict(train_ms=50.0, train_speedup=0.4, train_memory_mib=150.0)
    report.write(tmp_path)
    assert cv2.imread(str(tmp_path / "results.png")).shape[1] > narrow
    lines = (tmp_path / "results.md").read_text().splitlines()
    head, _, *rows = [line for line in lines if line.startswith("|")]
    assert head == (
        "| model | accuracy/top1 | seeds | to haar | parameters | memory, MiB | memory, ratio "
        "| s an epoch | time, ratio |"
    )
    assert rows == [
        "| haar | 64.67 ± 22.03 | 3 | +0.00 | 1,000 | 100 | 1.00 | 0.1 | 1.00 |",
        # of the seeds 0 and 1 alone
        "| wavelet_db2 | 49.50 ± 2.12 | 2 | -2.50 | 1,000 | 150 | 1.50 | 0.25 | 2.50 |",
        "| mixer_dft | 40.00 | 1 | -10.00 | 1,000 | - | - | - | - |",
        "| mixer_none | - | 0 | - | 1,000 | - | - | - | - |",
    ]
    assert "- mixer_none, seed 0: no room" in lines and "- command: ablate.py" in lines
    db2 = read_rows(tmp_path / "summary.csv")[1]
    assert [float(db2[key]) for key in ("mean", "difference", "epoch_s", "time_ratio")] == [
        *(49.5, -2.5, 0.25, 2.5)
    ]
    labels = [label.get_text() for label in report.plot().axes[0].get_yticklabels()]
    assert labels == ["haar (3)", "wavelet_db2 (2)", "mixer_dft (1)", "mixer_none (0)"]


def test_all_ablations_by_default_with_haar_first(monkeypatch):
    calls = []
    monkeypatch.setattr(compare, "run", lambda *arguments: calls.append(arguments))
    ablate.main([])
    ((args, _, report),) = calls
    names = [Path(path).stem for path in args.configs]
    assert names[0] == "haar" and len(names) == 28 and report is Ablation
    assert args.seeds == [0, 1, 2] and args.out == Path("work_dirs", "ablate")
    assert args.size == (32, 32)
    reference = Config.fromfile(args.configs[0])
    assert reference.model.backbone.token_mixer.wavelet == "haar"
