"""tools/deployment/latency.py on a tiny classifier."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

ROOT = Path(__file__).resolve().parents[2]

for package in ("onnxruntime", "openvino"):
    pytest.importorskip(package, reason="needs the extra export")


def test_every_runtime_has_a_row(tmp_path):
    config = tiny_models.write_configs(tmp_path)["classification"]
    # A process of its own: after OpenVINO, a training with workers crashes in the same process.
    process = subprocess.run(
        [sys.executable, ROOT / "tools/deployment/latency.py", config, "--size", "16",
         "--rounds", "2", "--round-seconds", "0"],
        env=os.environ | dict(TORCH_COMPILE_DISABLE="1"),  # a compiler would take most of the time
        capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \(", process.stdout, re.M)
    assert [name for name, *_ in rows] == [
        "PyTorch", "PyTorch, `deploy`", "PyTorch, `optimize`", "onnxruntime",
        "onnxruntime, int8 static", "onnxruntime, int8 dynamic", "OpenVINO", "OpenVINO, bfloat16",
    ]  # fmt: skip
    assert rows[0][2] == "1.00" and all(float(time) > 0 for _, time, _ in rows)
