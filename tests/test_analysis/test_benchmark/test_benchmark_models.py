"""wavemix_mm/analysis/benchmark/models.py."""

from pathlib import Path

import pytest
import torch
from torch import nn

from wavemix_mm.analysis.benchmark.models import Logits, build_model
from wavemix_mm.analysis.benchmark.specs import Spec, parse_spec, read_list
from wavemix_mm.errors import UserInputError

ROOT = Path(__file__).resolve().parents[3]
PEER = """
norm = dict(type="SyncBN")
weights = dict(type="Pretrained", checkpoint="https://nowhere.invalid/weights.pth")
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    pretrained="https://nowhere.invalid/weights.pth",
    data_preprocessor=dict(type="SegDataPreProcessor", size=(32, 64)),
    backbone=dict(
        type="ResNetV1c", depth=18, base_channels=8, stem_channels=8, norm_cfg=norm,
        init_cfg=[weights, dict(type="Constant", layer="Conv2d", val=0.25)],
    ),
    decode_head=dict(
        type="FCNHead", in_channels=64, channels=8, num_classes=5, norm_cfg=norm,
        init_cfg=weights, loss_decode=dict(type="CrossEntropyLoss"),
    ),
)
"""


def test_a_peer_is_built_without_a_download_and_for_one_process(tmp_path):
    path = tmp_path / "peer.py"
    path.write_text(PEER)
    logits = build_model(parse_spec(str(path)))
    assert logits.image_size == (32, 64)
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in logits.modules())
    assert (logits.network.backbone.stem[0].weight == 0.25).all()  # other init_cfg stay
    with torch.no_grad():
        out = logits.eval()(torch.rand(1, 3, 32, 64))
    assert out.shape == (1, 5, 32, 64)  # brought to the images' size


def test_ours(tiny):
    logits = build_model(parse_spec(tiny))
    assert (logits.in_channels, logits.image_size, logits.is_authors) == (3, (224, 224), False)
    assert logits(torch.rand(2, 3, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize(
    "text, shape",
    [
        ("official:seg depth=1 level=2 final_dim=8 ff_channel=8 num_classes=4", (1, 4, 32, 32)),
        ("official:cls depth=1 level=1 final_dim=8 ff_channel=8 num_classes=4", (1, 4)),
        ("torchvision:squeezenet1_1 num_classes=6", (1, 6)),
        ("torchvision:lraspp_mobilenet_v3_large num_classes=6", (1, 6, 32, 32)),
    ],
)
def test_other_packages(text, shape):
    logits = build_model(parse_spec(text)).eval()
    assert logits.is_authors == text.startswith("official")
    with torch.no_grad():
        assert logits(torch.rand(1, 3, 32, 32)).shape == shape


def test_timm():
    pytest.importorskip("timm")
    logits = build_model(parse_spec("timm:resnet10t num_classes=6"))
    assert logits(torch.rand(2, 3, 32, 32)).shape == (2, 6)
    with pytest.raises(UserInputError, match="'timm:resnet1' cannot be built"):
        build_model(parse_spec("timm:resnet1"))


def test_a_library_that_is_not_installed():
    with pytest.raises(
        UserInputError, match="model .* needs the package no_such: pip install no_such"
    ):
        build_model(Spec("no_such:net", "no_such", "net", {}, "net"))


def test_the_first_output_counts():
    class Two(nn.Module):
        def forward(self, x):
            return {"out": (x[:, :1], x), "aux": x}

    assert Logits(Two(), (4, 4), False)(torch.rand(2, 3, 4, 4)).shape == (2, 1, 4, 4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("no/such.py", "does not exist"),
        ("torchvision:resnet19", "Unknown model resnet19"),
        ("official:cls colour=1", "unexpected keyword argument 'colour'"),
        ("official:resnet18_8xb32_in1k", "has no counterpart in the authors' package"),
        ("cifar10 model.backbone.depth=two", "'cifar10 model.backbone.depth=two' cannot be built"),
    ],
)
def test_bad_models(text, message):
    with pytest.raises(UserInputError, match=message) as error:
        build_model(parse_spec(text))
    assert "\n" not in str(error.value)


def test_convmixers_have_the_parameters_of_table_10():
    lines = read_list(str(ROOT / "configs" / "benchmarks" / "classification.txt"))
    published = {"ConvMixer-512/12": 4.2, "ConvMixer-512/16": 5.4, "ConvMixer-1024/12": 14.6}
    for spec in map(parse_spec, lines):
        if spec.name in published:
            count = sum(p.numel() for p in build_model(spec).parameters())
            assert round(count / 1e6, 1) == published.pop(spec.name)
    assert not published
