"""tools/analysis_tools/measuring/models.py, and wavemix_mm/official/networks.py through it."""

from pathlib import Path

import pytest
import torch
import yaml
from measuring.candidates import count_macs
from measuring.models import Logits, build_model, find_config, read_models
from test_train import ROOT
from torch import nn

from wavemix_mm import convert_official
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

LISTS = sorted((ROOT / "configs" / "benchmarks").glob("*.txt"))
SMALL = "model.backbone.embed_dims=8 model.backbone.depth=2"
SEGMENTATION = f"{SMALL} model.decode_head.in_channels=8 model.decode_head.channels=2"
# a strided and a patch stem, the authors' four networks, ff_channels and mlp_ratio of their own
CASES = {
    "cityscapes": f"cityscapes {SEGMENTATION} model.decode_head.mid_channels=4",
    "seg_on_cls": f"cityscapes_in1k-192-16-l3 {SEGMENTATION} model.decode_head.mid_channels=6",
    "imagenet": f"imagenet {SMALL} model.neck.in_channels=8",
    "cifar10": f"cifar10 {SMALL} model.head.in_channels=8 model.backbone.ff_channels=12 "
    "model.backbone.mlp_ratio=3",
}


def test_models_of_a_command_line_and_of_a_list(tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("# all\n\ncityscapes name='A b' depth=1  # the large one\ntimm:resnet18\n")
    words = [["cifar10", "a=1"], ["mnist", "b=[1,3]"], ["cityscapes", "name=A b", "depth=1"]]
    expected = [*words, ["timm:resnet18"]]
    assert read_models(["cifar10", "a=1", "mnist b=[1,3]"], str(path)) == expected
    path.write_text("# none\n")
    with pytest.raises(UserInputError, match="names no model"):
        read_models([], str(path))
    with pytest.raises(UserInputError, match="No closing quotation"):
        read_models(["cityscapes 'name"])


def test_each_line_of_our_lists_names_a_model():
    counts = {"ConvMixer-512/12": 4.2, "ConvMixer-512/16": 5.4, "ConvMixer-1024/12": 14.6}
    assert len(LISTS) == 2
    for path in LISTS:
        models = read_models([], str(path))
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert len(models) == len(lines) > 5
        assert all(Path(find_config(words[0])).is_file() for words in models)
        names = [words[1].removeprefix("name=") for words in models]
        assert len(set(names)) == len(models)
        for name, words in zip(names, models, strict=True):
            if name in counts:  # as large as in Table 10
                size = sum(p.numel() for p in build_model(words).parameters())
                assert round(size / 1e6, 1) == counts.pop(name)
    assert not counts
    # a model of mmpretrain whose config has another name
    name = "vit-base-p16_in21k-pre_3rdparty_in1k-384px"
    assert find_config(name).endswith("vit-base-p16_64xb64_in1k-384px.py")


def test_a_peer_is_built_without_a_download_and_for_one_process():
    # its backbone has an init_cfg with weights on the network, and SyncBN
    name, weights = "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024", "https://nowhere.invalid"
    logits = build_model([name, "name=peer", f"model.pretrained={weights}"]).eval()
    assert (logits.name, logits.in_channels, logits.image_size) == ("peer", 3, (1024, 1024))
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in logits.modules())
    # the map is brought to the images' size
    assert logits(torch.rand(1, 3, 32, 64)).shape == (1, 19, 32, 64)


@pytest.mark.parametrize(
    "text, shape",
    [
        ("official:seg depth=1 level=2 final_dim=8 ff_channel=8 num_classes=4", (1, 4, 32, 32)),
        ("official:cls depth=1 level=1 final_dim=8 ff_channel=8 num_classes=4", (1, 4)),
        ("torchvision:squeezenet1_1 num_classes=6", (1, 6)),
        ("timm:resnet10t num_classes=6", (1, 6)),
        ("torchvision:lraspp_mobilenet_v3_large num_classes=6", (1, 6, 32, 32)),
    ],
)
def test_other_packages(text, shape):
    logits = build_model(text.split()).eval()
    assert logits.is_authors == text.startswith("official") and logits.name == text
    assert logits(torch.rand(1, 3, 32, 32)).shape == shape


def test_the_first_output_counts():
    class Two(nn.Module):
        def forward(self, x):
            return {"out": (x[:, :1], x), "aux": x}

    assert Logits(Two())(torch.rand(2, 3, 4, 4)).shape == (2, 1, 4, 4)


CIFAR10 = CASES["cifar10"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("no/such.py", "does not exist"),
        ("official:cityscape", "did you mean cityscapes"),
        ("torchvision:resnet19", "Unknown model resnet19"),
        ("official:cls colour=1", "unexpected keyword argument 'colour'"),
        ("official:resnet18_8xb32_in1k", "has no counterpart in the authors' package"),
        ("cifar10 model.backbone.depth=two", "'cifar10 model.backbone.depth=two' cannot be built"),
        ("cifar10 =two", "not of the form KEY=VALUE"),
        (f"official:{CIFAR10} model.backbone.levels=[2]", "has no counterpart"),
        (f"official:{CIFAR10} model.backbone.levels=5", "has no counterpart"),
        (f"official:{CIFAR10} model.backbone.in_channels=1", "has no counterpart"),
        (f"official:{CIFAR10} model.backbone.token_mixer.wavelet=db2", "has no counterpart"),
        (f"official:{CIFAR10} model.backbone.upsample=bilinear", "has no counterpart"),
    ],
)
def test_bad_models(text, message):
    with pytest.raises(UserInputError, match=message) as error:
        build_model(text.split())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", CASES)
def test_the_authors_counterpart_computes_the_same(case):
    package, *options = CASES[case].split()
    ours = build_model([package, *options]).eval()
    theirs = build_model([f"official:{package}", *options]).eval()
    assert theirs.name == f"{ours.name}, authors"
    networks.randomize_norms(theirs)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images)
        assert not torch.allclose(ours(images), expected, rtol=1e-2)
        ours.network.load_state_dict(convert_official(theirs.network.state_dict()), strict=True)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cityscapes", "imagenet"])
def test_multiply_adds_of_the_metafile(name):
    metafile = yaml.safe_load((ROOT / "configs" / "wavemix" / "metafile.yml").read_text())
    known = {model["Name"]: model["Metadata"] for model in metafile["Models"]}[name]
    logits = build_model([name]).eval()
    assert count_macs(logits, 3, logits.image_size) == known["FLOPs"]
    assert sum(p.numel() for p in logits.parameters()) == known["Parameters"]


def test_attention_counts():
    # the fused operator of PyTorch's own encoder layer would count nothing
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens = nn.Sequential(nn.Flatten(2), layer).eval()
    counted = count_macs(tokens, 5, (2, 4))  # 5 tokens of 8
    assert counted == 5 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8
