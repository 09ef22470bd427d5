"""Every config reads, builds and says what it should."""

import ast
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs" / "wavemix").glob("*.py"))
METAFILE = yaml.safe_load((ROOT / "configs" / "wavemix" / "metafile.yml").read_text())


def build(cfg, **head):
    for name, value in head.items():
        cfg.model.decode_head[name] = value
    model = {k: v for k, v in cfg.model.items() if k not in ("data_preprocessor", "train_cfg")}
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        return MODELS.build(model)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def read(name):
    return Config.fromfile(ROOT / "configs" / "wavemix" / name)


def dicts(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from dicts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from dicts(value)


def test_there_are_configs():
    assert len(CONFIGS) >= 6
    for name in ("cityscapes", "cityscapes_512x1024", "cityscapes_256x512", "camvid",
                 "cityscapes_in1k-192-16-l3", "cityscapes_demo"):  # fmt: skip
        assert ROOT / "configs" / "wavemix" / f"{name}.py" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_is_in_the_metafile(path):
    cfg = Config.fromfile(path)
    assert cfg.custom_imports == dict(imports=["wavemix_mm"], allow_failed_imports=False)
    assert cfg.default_scope in ("mmseg", "mmpretrain")
    assert cfg.model.backbone.type == "wavemix_mm.WaveMix"
    entries = [model for model in METAFILE["Models"] if model["Name"] == path.stem]
    assert len(entries) == 1
    assert ROOT / entries[0]["Config"] == path
    assert entries[0]["Metadata"]["Parameters"] == count(build(cfg))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_bases_are_relative(path):
    """A base such as mmseg::... fails where mmengine's map of packages is out of date."""
    pending, seen = [path], set()
    while pending:
        file = pending.pop()
        seen.add(file)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "_base_":
                value = ast.literal_eval(node.value)
                for base in [value] if isinstance(value, str) else value:
                    assert base.startswith("."), f"{file}: {base}"
                    pending.append((file.parent / base).resolve())
    assert len(seen) > 1


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_classes_agree_with_the_dataset(path):
    from mmengine.registry import DATASETS

    cfg = Config.fromfile(path)
    dataset = cfg.train_dataloader.dataset
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        metainfo = dict(registry.get(dataset.type).METAINFO) | dict(dataset.get("metainfo") or {})
    if cfg.default_scope == "mmseg":
        assert cfg.model.decode_head.num_classes == len(metainfo["classes"])
    elif metainfo.get("classes") is not None:
        assert cfg.model.head.num_classes == len(metainfo["classes"])


def test_model_index_lists_the_metafile():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert index["Import"] == ["configs/wavemix/metafile.yml"]
    assert {model["Name"] for model in METAFILE["Models"]} == {path.stem for path in CONFIGS}


def test_cityscapes_is_the_best_model_of_the_paper():
    cfg = read("cityscapes.py")
    model = build(cfg, num_classes=20)
    assert count(model) == 63_164_628
    assert [len(block.levels) for block in model.backbone.blocks] == [4] * 16
    assert cfg.model.test_cfg.mode == "whole"
    assert cfg.model.data_preprocessor.size == (1024, 2048)
    assert cfg.model.decode_head.loss_decode.type == "wavemix_mm.SoftmaxFocalLoss"
    assert cfg.train_dataloader.batch_size == 5
    pipeline = [transform.type for transform in cfg.train_dataloader.dataset.pipeline]
    assert pipeline == ["LoadImageFromFile", "LoadAnnotations", "Resize", "RandomFlip",
                        "PackSegInputs"]  # fmt: skip
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.optimizer == dict(
        type="AdamW", lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
    )
    assert cfg.train_cfg.max_epochs == 300
    (hook,) = (h for h in cfg.custom_hooks if h.type == "wavemix_mm.SwitchOptimizerHook")
    assert hook.last_epochs == 50
    assert hook.optim_wrapper.optimizer == dict(type="SGD", lr=1e-3, momentum=0.9)


@pytest.mark.parametrize(
    ("name", "parameters", "size"),
    [
        ("cityscapes_512x1024.py", 22_214_868, (512, 1024)),
        ("cityscapes_256x512.py", 44_243_156, (256, 512)),
    ],
)
def test_best_rows_of_table_6(name, parameters, size):
    cfg = read(name)
    assert count(build(cfg, num_classes=20)) == parameters
    assert cfg.model.data_preprocessor.size == size
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        (resize,) = (t for t in loader.dataset.pipeline if t.type == "Resize")
        assert resize.scale == size[::-1]


def test_released_architecture():
    head = build(read("cityscapes_in1k-192-16-l3.py"), num_classes=20).decode_head
    assert [(m.in_channels, m.out_channels) for m in head.upsamples] == [(192, 128), (128, 64)]
    assert head.conv_seg.out_channels == 20


def test_our_types_carry_the_prefix():
    """Without it they are not found under the toolboxes' scopes."""
    ours = {"WaveMix", "TransposedConvHead", "SoftmaxFocalLoss", "ChannelMixing", "PatchStem",
            "StridedStem", "DWTMixer", "SwitchOptimizerHook", "CamVidDataset",
            "BFloat16OptimWrapper", "TorchvisionDataset", "StatelessSampler",
            "StatelessSeedHook", "NonFiniteHook", "SafeCheckpointHook"}  # fmt: skip
    for path in CONFIGS:
        types = {node["type"] for node in dicts(Config.fromfile(path)._cfg_dict) if "type" in node}
        assert not types & ours, path.name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_loaders(path):
    cfg = Config.fromfile(path)
    assert cfg.default_hooks.stateless_seed == dict(type="wavemix_mm.StatelessSeedHook")
    assert cfg.default_hooks.non_finite == dict(type="wavemix_mm.NonFiniteHook")
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        assert loader.num_workers > 0 and loader.persistent_workers
        sampler = "wavemix_mm.StatelessSampler" if name == "train" else "DefaultSampler"
        assert loader.sampler == dict(type=sampler, shuffle=name == "train")
        assert name == "train" or not loader.get("drop_last")  # metrics are of all images
        if cfg.default_scope == "mmpretrain":
            assert loader.pin_memory
            assert loader.collate_fn == dict(type="default_collate")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_checkpoints_are_safe(path):
    hooks = [node for node in dicts(Config.fromfile(path)._cfg_dict) if "max_keep_ckpts" in node]
    assert [hook["type"] for hook in hooks] == ["wavemix_mm.SafeCheckpointHook"]


def build_for_weights(cfg):
    model = {k: v for k, v in cfg.model.items() if k != "data_preprocessor"}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(model)


def test_initial_weights_of_camvid():
    torch.manual_seed(0)
    model = build_for_weights(read("camvid.py"))
    model.init_weights()
    head = model.decode_head
    weights = (model.backbone.blocks[0].paths[0].expand, head.conv_seg, head.upsamples[0])
    # sqrt(2 / fan_in); Xavier sqrt(2 / (16 * (64 + 32)))
    assert [layer.weight.std().item() for layer in weights] == pytest.approx(
        [(2 / 96) ** 0.5, 0.1, (2 / (16 * 96)) ** 0.5], rel=0.2
    )


def test_camvid_best_takes_the_whole_backbone_of_its_pretraining(tmp_path):
    pretraining = read("cifar10_64-6-l3_pretrain.py")
    pretrained = build_for_weights(pretraining)
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    file = tmp_path / "pretrained.pth"
    torch.save(dict(state_dict=pretrained.state_dict()), file)
    cfg = read("camvid_best.py")
    init_cfg = cfg.model.backbone.init_cfg
    epochs = pretraining.train_cfg.max_epochs
    assert init_cfg.checkpoint == f"work_dirs/cifar10_64-6-l3_pretrain/epoch_{epochs}.pth"
    init_cfg.checkpoint = str(file)
    model = build_for_weights(cfg)
    model.init_weights()
    torch.testing.assert_close(
        dict(model.backbone.state_dict()), dict(pretrained.backbone.state_dict()), rtol=0, atol=0
    )
