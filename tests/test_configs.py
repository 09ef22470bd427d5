"""Every config reads, builds and says what it should."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner
from mmpretrain import ImageClassificationInferencer, get_model
from mmseg.apis import inference_model
from mmseg.apis import init_model as mmseg_init_model

from wavemix_mm.apis import init_model
from wavemix_mm.engine.run.config import adapt_to_machine

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs" / "wavemix").glob("*.py"))
ALL_CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
METAFILE = yaml.safe_load((ROOT / "configs" / "wavemix" / "metafile.yml").read_text())

OURS = {
    "WaveMix", "TransposedConvHead", "SoftmaxFocalLoss", "ChannelMixing", "PatchStem",
    "StridedStem", "DWTMixer", "SwitchOptimizerHook", "CamVidDataset", "BFloat16OptimWrapper",
    "TorchvisionDataset", "StatelessSampler", "StatelessSeedHook", "NonFiniteHook",
    "SafeCheckpointHook", "WaveletPyramid",
}  # fmt: skip


def config_name(path):
    return path.relative_to(ROOT / "configs").as_posix()


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


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_is_in_the_metafile(path):
    cfg = Config.fromfile(path)
    assert cfg.custom_imports == dict(imports=["wavemix_mm"], allow_failed_imports=False)
    assert cfg.model.backbone.type == "wavemix_mm.WaveMix"
    (entry,) = [model for model in METAFILE["Models"] if model["Name"] == path.stem]
    assert ROOT / entry["Config"] == path
    assert entry["Metadata"]["Parameters"] == count(build(cfg))

    hooks = cfg.default_hooks
    assert hooks.checkpoint.type == "wavemix_mm.SafeCheckpointHook"
    assert hooks.stateless_seed == dict(type="wavemix_mm.StatelessSeedHook")
    assert hooks.non_finite == dict(type="wavemix_mm.NonFiniteHook")
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        assert loader.num_workers > 0 and loader.persistent_workers
        sampler = "wavemix_mm.StatelessSampler" if name == "train" else "DefaultSampler"
        assert loader.sampler == dict(type=sampler, shuffle=name == "train")
        assert name == "train" or not loader.get("drop_last")  # metrics are of all images
        if cfg.default_scope == "mmpretrain":
            assert loader.pin_memory
            assert loader.collate_fn == dict(type="default_collate")
    # under the toolboxes' scopes, our types are found by their prefix alone
    types = {node["type"] for node in dicts(cfg._cfg_dict) if "type" in node}
    assert not types & OURS

    dataset = cfg.train_dataloader.dataset
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        metainfo = dict(registry.get(dataset.type).METAINFO) | dict(dataset.get("metainfo") or {})
    if cfg.default_scope == "mmseg":
        assert cfg.model.decode_head.num_classes == len(metainfo["classes"])
    else:
        assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes
        classes = metainfo.get("classes")
        assert classes is None or cfg.model.head.num_classes == len(classes)


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=config_name)
def test_bases_are_relative(path):
    """A base such as mmseg::... fails where mmengine's map of packages is out of date."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            bases = ast.literal_eval(node.value)
            for base in [bases] if isinstance(bases, str) else bases:
                assert base.startswith(".")


def test_model_index_lists_the_metafile():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert index["Import"] == [f"configs/{name}/metafile.yml" for name in ("wavemix", "detection")]
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


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=config_name)
def test_base_from_another_folder_is_read_as_by_its_path(path, tmp_path):
    """mmengine would write the scope wavemix_mm into it, where no type of a toolbox is known."""
    name = config_name(path)
    spellings = {
        "py": f"_base_ = ['wavemix_mm::{name}']\n",
        "json": f'{{"_base_": "wavemix_mm::{name.removesuffix(".py")}"}}\n',
    }
    expected = Config.fromfile(path)
    for suffix, text in spellings.items():
        foreign = tmp_path / f"foreign.{suffix}"
        foreign.write_text(text)
        assert Config.fromfile(foreign)._cfg_dict == expected._cfg_dict


def test_base_that_does_not_exist(tmp_path):
    foreign = tmp_path / "foreign.py"
    foreign.write_text("_base_ = 'wavemix_mm::wavemix/camvit.py'\n")
    with pytest.raises(FileNotFoundError, match=r"did you mean wavemix_mm::wavemix/camvid\.py"):
        Config.fromfile(foreign)


def test_bases_of_other_packages_are_left_to_mmengine(tmp_path):
    foreign = tmp_path / "foreign.py"
    foreign.write_text("_base_ = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'\n")
    assert Config.fromfile(foreign).model._scope_ == "mmpretrain"


FOREIGN_SEGMENTATION = """
_base_ = "wavemix_mm::wavemix/camvid.py"
crop = _base_.crop_size  # variables of a base are there as with a path
model = dict(
    data_preprocessor=dict(size=(32, 48)),
    backbone=dict(embed_dims=8, depth=1, levels=2),
    decode_head=dict(in_channels=8, mid_channels=4, channels=4),
)
_loader = dict(num_workers=0, persistent_workers=False)
_steps = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
_data = dict(data_root={data!r}, pipeline=_steps)
train_dataloader = dict(batch_size=2, **_loader, dataset=_data)
val_dataloader = dict(**_loader, dataset=_data)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1)
param_scheduler = []
work_dir = {work_dir!r}
"""
FOREIGN_CLASSIFICATION = """
_base_ = "wavemix_mm::wavemix/cifar10_32-7_folder.py"
model = dict(backbone=dict(embed_dims=8, depth=1), head=dict(in_channels=8))
_loader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r}))
train_dataloader = dict(batch_size=5, **_loader)
val_dataloader = dict(batch_size=5, **_loader)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1)
custom_hooks = []
work_dir = {work_dir!r}
"""
FOREIGN = {"segmentation": FOREIGN_SEGMENTATION, "classification": FOREIGN_CLASSIFICATION}


def draw(task, folder):
    """Two images of each split or class."""
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        names = {"segmentation": ["0", "1"], "classification": [f"{c}/0" for c in "abcdefghij"]}
        for name in names[task]:
            image = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            if task == "classification":
                image = image[:, :32]
            file = folder / ("img_dir" if task == "segmentation" else "") / split / f"{name}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), image)
            label = folder / "ann_dir" / split / f"{name}.png"
            label.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(label), rng.integers(0, 12, (32, 48), dtype=np.uint8))


@pytest.mark.parametrize("task", FOREIGN)
def test_base_from_another_folder_trains_tests_and_infers(task, tmp_path, monkeypatch):
    """With mmengine's own runner, in a folder that has nothing of this repository."""
    monkeypatch.chdir(tmp_path)
    draw(task, tmp_path / "data")
    config = tmp_path / "mine.py"
    text = FOREIGN[task].format(data=str(tmp_path / "data"), work_dir=str(tmp_path / "run"))
    config.write_text(text)
    cfg = Config.fromfile(config)
    cfg.experiment_name = f"foreign_{task}"
    adapt_to_machine(cfg, "none")
    runner = Runner.from_cfg(cfg)
    before = [parameter.detach().clone() for parameter in runner.model.parameters()]
    runner.train()
    pairs = zip(before, runner.model.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in pairs)
    metrics = runner.test()
    assert set(metrics) & {"mIoU", "accuracy/top1"}

    image = str(next((tmp_path / "data").rglob("*.jpg")))
    model = init_model(config, tmp_path / "run" / "epoch_1.pth", device="cpu")
    if task == "segmentation":
        assert inference_model(model, image).pred_sem_seg.data.shape == (1, 32, 48)
        assert type(mmseg_init_model(str(config), device="cpu")) is type(model)
    else:
        (result,) = ImageClassificationInferencer(model)(image)
        assert result["pred_class"] in "abcdefghij"
        assert type(get_model(str(config))) is type(model)


def test_base_of_a_clone_that_is_not_installed(tmp_path):
    """PYTHONPATH alone: there is no .mim folder, where mmengine would look."""
    for name in ("wavemix_mm", "configs"):
        ignore = shutil.ignore_patterns("__pycache__", ".mim", "*.safetensors")
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=ignore)
    shutil.copy(ROOT / "model-index.yml", tmp_path / "clone")
    (tmp_path / "mine.py").write_text("_base_ = 'wavemix_mm::wavemix/camvid.py'\n")
    code = (
        "import wavemix_mm, mmengine; print(wavemix_mm.__file__)\n"
        "print(mmengine.Config.fromfile('mine.py').model.type)\n"
    )
    path = [entry for entry in sys.path if entry and not Path(entry, "wavemix_mm").is_dir()]
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "clone"), *path])},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    file, kind = process.stdout.split()
    assert Path(file).is_relative_to(tmp_path) and kind == "EncoderDecoder"
