"""tools/deployment/latency.py on a tiny classifier."""

import re

import pytest
import tiny_models
import torch
from test_train import run_main

for package in ("onnxruntime", "openvino"):
    pytest.importorskip(package, reason="needs the extra export")


def test_every_runtime_has_a_row(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("wavemix_mm.models.fast.optimize._ROUND_SECONDS", 0)
    config = tiny_models.write_configs(tmp_path)["classification"]
    with torch.compiler.set_stance("force_eager"):  # a compiler would take most of the time
        run_main("deployment/latency", config, "--size", "16", "--rounds", "2",
                 "--round-seconds", "0")  # fmt: skip
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| ([\d.]+) \(", capsys.readouterr().out, re.M)
    assert [name for name, *_ in rows] == [
        "PyTorch", "PyTorch, `deploy`", "PyTorch, `optimize`", "onnxruntime",
        "onnxruntime, int8 static", "onnxruntime, int8 dynamic", "OpenVINO", "OpenVINO, bfloat16",
    ]  # fmt: skip
    assert rows[0][2] == "1.00" and all(float(time) > 0 for _, time, _ in rows)
