"""wavemix_mm/analysis/benchmark/cost.py."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from wavemix_mm.analysis.benchmark.cost import count_macs, count_parameters, matmul_ceiling
from wavemix_mm.analysis.benchmark.models import build_model
from wavemix_mm.analysis.benchmark.specs import parse_spec

METAFILE = Path(__file__).resolve().parents[3] / "configs" / "wavemix" / "metafile.yml"


@pytest.mark.parametrize(
    "layer, macs",
    [
        (nn.Conv2d(3, 8, 3, padding=1), 6 * 10 * 8 * 3 * 9),
        (nn.Conv2d(3, 9, 3, stride=2, groups=3), 2 * 4 * 9 * 9),
        (nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), 6 * 10 * 3 * 5 * 16),
        (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 7)), 12 * 7),
    ],
)
def test_macs_of_known_layers(layer, macs):
    layer.train()
    counted, shape = count_macs(layer, 3, (6, 10))
    assert counted == macs
    assert shape == tuple(layer(torch.rand(1, 3, 6, 10)).shape)
    assert layer.training and all(p.device.type == "cpu" for p in layer.parameters())


def test_attention_counts():
    # the fused operator of PyTorch's own encoder layer would count nothing
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = nn.Sequential(nn.Flatten(2), layer)
    counted, _ = count_macs(tokens, 5, (2, 4))  # 5 tokens of 8
    assert counted == 5 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8


@pytest.mark.parametrize("name", ["cityscapes", "imagenet"])
def test_counts_of_the_metafile(name):
    models = yaml.safe_load(METAFILE.read_text())["Models"]
    metadata = next(model["Metadata"] for model in models if model["Name"] == name)
    logits = build_model(parse_spec(name))
    macs, _ = count_macs(logits, 3, logits.image_size)
    assert macs == metadata["FLOPs"]
    assert count_parameters(logits) == metadata["Parameters"]


def test_ceiling_is_a_rate():
    assert 0 < matmul_ceiling("cpu", torch.float32, side=32) < 1e15
