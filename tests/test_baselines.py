"""configs/baselines: other networks, all else as in the config that they build on."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).resolve().parents[1] / "configs"
CONFIGS = sorted((ROOT / "baselines").glob("*.py"))
BASES = {"camvid": "camvid", "cityscapes": "cityscapes", "cifar10": "cifar10_32-7_short"}


def build(cfg):
    model = {key: value for key, value in cfg.model.items() if key != "data_preprocessor"}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(model)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_only_the_network_differs(path):
    cfg = Config.fromfile(path)
    base = Config.fromfile(ROOT / "wavemix" / f"{BASES[path.stem.partition('_')[0]]}.py")
    if "decode_head" in base.model:
        loss = base.model.decode_head.loss_decode
        assert cfg.model.decode_head.loss_decode == loss
    else:
        assert {**cfg.model.head, "in_channels": base.model.head.in_channels} == base.model.head
    assert cfg.model.get("data_preprocessor") == base.model.get("data_preprocessor")
    for key in set(base) - {"model"}:
        assert cfg[key] == base[key], key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_gives_logits_and_gradients(path):
    cfg = Config.fromfile(path)
    model = build(cfg).eval()  # no block is dropped
    logits = model(torch.rand(1, 3, 64, 96), mode="tensor")
    classes = cfg.model.get("decode_head", cfg.model.get("head")).num_classes
    assert logits.shape[:2] == (1, classes)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_baseline_is_in_the_readme():
    text = (ROOT / "baselines" / "README.md").read_text()
    assert CONFIGS
    for path in CONFIGS:
        assert f"`{path.name}`" in text


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("camvid_fcn-r18", "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py"),
        (
            "camvid_deeplabv3plus-r18",
            "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py",
        ),
        ("camvid_segformer-b0", "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"),
    ],
)
def test_networks_are_those_of_mmseg(name, theirs):
    """The same tensors, but for the classes."""
    import mmseg

    reference = Config.fromfile(Path(mmseg.__file__).parent / ".mim" / "configs" / theirs)
    reference.model.update(pretrained=None, auxiliary_head=None)
    reference.model.backbone.init_cfg = None
    reference.model.decode_head.num_classes = 11
    cfg = Config.fromfile(ROOT / "baselines" / f"{name}.py")
    shapes, expected = (
        {key: value.shape for key, value in build(config).state_dict().items()}
        for config in (cfg, reference)
    )
    assert shapes == expected


def test_the_resnet_has_the_size_of_wavemix():
    sizes = [
        sum(parameter.numel() for parameter in build(Config.fromfile(ROOT / path)).parameters())
        for path in ("baselines/cifar10_resnet14-w7.py", "wavemix/cifar10_32-7_short.py")
    ]
    assert sizes == [36_631, 37_058]
