"""Weights of an ImageNet classifier as the start of other models."""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope

from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.errors import UserInputError

ROOT = Path(__file__).resolve().parents[1]
TINY = ["model.backbone.embed_dims=8", "model.backbone.depth=2"]
IN1K_HEAD = ["model.neck.in_channels=8"]
CLS_HEAD = ["model.head.in_channels=8"]
SEG_HEAD = [
    "model.decode_head.in_channels=8",
    "model.decode_head.mid_channels=4",
    "model.decode_head.channels=4",
]


def build(config, *options):
    cfg = load_config(str(ROOT / "configs" / "wavemix" / f"{config}.py"), parse_options(options))
    # mmseg's head asks for the scope once more when it is called
    DefaultScope.get_instance(f"transfer-{config}", scope_name=cfg.default_scope)
    return MODELS.build(cfg.model)


def write_classifier(path, *options):
    """Write the checkpoint of a classifier, and return its tensors."""
    state = build("imagenet", *TINY, *IN1K_HEAD, *options).state_dict()
    # as after training: no value is the one that a new model starts with
    state = {k: (v + torch.rand(v.shape)).to(v.dtype) for k, v in state.items()}
    torch.save(dict(meta=dict(epoch=1), state_dict=state), path)
    return state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Path and tensors of a classifier."""
    path = tmp_path_factory.mktemp("weights") / "imagenet.pth"
    return path, write_classifier(path)


def init_weights(model, tmp_path):
    """Initialize as the Runner does, and return what is logged."""
    log = tmp_path / "init.log"
    MMLogger.get_instance(str(tmp_path), log_file=str(log))
    model.init_weights()
    return log.read_text()


@pytest.mark.parametrize(
    "config, options",
    [
        ("cifar10_in1k", CLS_HEAD),
        ("tiny_imagenet_in1k", CLS_HEAD),
        ("galaxy10", CLS_HEAD),
        ("cityscapes_in1k-192-16-l3", SEG_HEAD),
    ],
)
def test_the_backbone_is_loaded_and_the_log_says_so(config, options, checkpoint, tmp_path):
    path, source = checkpoint
    model = build(config, *TINY, *options, f"model.backbone.init_cfg.checkpoint={path}")
    log = init_weights(model, tmp_path)
    state = model.backbone.state_dict()
    assert state and {f"backbone.{key}" for key in state} <= set(source)
    for key, value in state.items():
        torch.testing.assert_close(value, source[f"backbone.{key}"], rtol=0, atol=0)
    # nothing of the backbone is missing, and each parameter is accounted for
    assert f"load backbone. in model from: {path}" in log
    assert "do not match exactly" not in log
    number = len(state)
    assert f"WaveMix takes {number} of {number} tensors from {path}: stem 11/11, bl" in log
    said = {}
    for entry in log.split("\n\n"):
        name, _, text = entry.strip().partition(" - ")
        said[name] = text
    for name, _ in model.named_parameters():
        is_loaded = f"PretrainedInit: load from {path}" in said[name]
        assert is_loaded == name.startswith("backbone."), name


@pytest.mark.parametrize("stem", ["PatchStem", "StridedStem"])
def test_level_4_with_its_strided_stem(stem, tmp_path):
    """The stem of a classifier with patches cannot be loaded, all else can; the log says so."""
    path = tmp_path / "level4.pth"
    options = ["model.backbone.levels=4"]
    if stem == "StridedStem":
        options.append("model.backbone.stem.type=wavemix_mm.StridedStem")
    source = write_classifier(path, *options)
    option = f"model.backbone.init_cfg.checkpoint={path}"
    model = build("cityscapes_in1k-256-16-l4", *TINY, *SEG_HEAD, option)
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    log = init_weights(model, tmp_path)
    taken = 0
    for key, value in model.backbone.state_dict().items():
        own = stem == "PatchStem" and key.startswith("stem.")
        torch.testing.assert_close(value, before[key] if own else source[f"backbone.{key}"])
        taken += not own
    assert f"WaveMix takes {taken} of {len(before)} tensors from {path}: stem " in log
    if stem == "PatchStem":
        names = "stem.conv1.weight, stem.conv1.bias, stem.conv2.weight, stem.conv2.bias"
        assert f": stem 0/4, blocks.0 46/46, blocks.1 46/46; as initialized stay {names}\n" in log
        assert "unexpected key in source state_dict: stem.patch_conv.weight" in log
    else:
        assert ": stem 4/4, blocks.0 46/46, blocks.1 46/46\n" in log


def test_a_checkpoint_of_which_nothing_fits(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(dict(state_dict={"backbone.conv1.weight": torch.zeros(1)}), path)
    model = build("cifar10_in1k", *TINY, *CLS_HEAD, f"model.backbone.init_cfg.checkpoint={path}")
    with pytest.raises(UserInputError, match="no tensor that fits WaveMix; its first is conv1"):
        model.init_weights()
