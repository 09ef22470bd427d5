"""Every config reads, builds and says what it should."""

import ast
import copy
import csv
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs" / "wavemix").glob("*.py"))
ABLATIONS = sorted((ROOT / "configs" / "wavemix" / "ablation").glob("*.py"))
ALL_CONFIGS = sorted((ROOT / "configs").rglob("*.py"))
METAFILE = yaml.safe_load((ROOT / "configs" / "wavemix" / "metafile.yml").read_text())
TASKS = dict(mmseg="Semantic Segmentation", mmpretrain="Image Classification")
SEGMENTATION = [ROOT / entry["Config"] for entry in METAFILE["Models"]
                if entry["Results"][0]["Task"] == TASKS["mmseg"]]  # fmt: skip

OURS = {
    "WaveMix", "TransposedConvHead", "SoftmaxFocalLoss", "ChannelMixing", "PatchStem",
    "StridedStem", "DWTMixer", "SwitchOptimizerHook", "CamVidDataset", "BFloat16OptimWrapper",
    "TorchvisionDataset", "StatelessSampler", "StatelessSeedHook", "NonFiniteHook",
    "SafeCheckpointHook", "WaveletPyramid", "RandomFilterMixer", "LiftingMixer", "MaxPoolMixer",
    "DFTMixer", "IdentityMixer", "StatelessInfiniteSampler",
}  # fmt: skip


def config_name(path):
    return path.relative_to(ROOT / "configs").as_posix()


def build(cfg, device="meta"):
    model = {k: v for k, v in cfg.model.items() if k not in ("data_preprocessor", "train_cfg")}
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device(device):
        return MODELS.build(model)


def read(path):
    """Return the config of a file, by its path or its name in configs/wavemix, for changes."""
    return copy.deepcopy(_read_once(ROOT / "configs" / "wavemix" / path))


_read_once = functools.cache(Config.fromfile)


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
    cfg = read(path)
    assert cfg.custom_imports == dict(imports=["wavemix_mm"], allow_failed_imports=False)
    assert cfg.model.backbone.type == "wavemix_mm.WaveMix"
    (entry,) = [model for model in METAFILE["Models"] if model["Name"] == path.stem]
    assert ROOT / entry["Config"] == path
    parameters = build(cfg).parameters()
    assert entry["Metadata"]["Parameters"] == sum(parameter.numel() for parameter in parameters)
    assert entry["Results"][0]["Task"] == TASKS[cfg.default_scope]

    hooks = cfg.default_hooks
    assert hooks.checkpoint.type == "wavemix_mm.SafeCheckpointHook"
    assert hooks.stateless_seed == dict(type="wavemix_mm.StatelessSeedHook")
    assert hooks.non_finite == dict(type="wavemix_mm.NonFiniteHook")
    for name in ("train", "val", "test"):
        loader = cfg[f"{name}_dataloader"]
        assert loader.num_workers > 0 and loader.persistent_workers
        stateless = "StatelessSampler" if cfg.train_cfg.by_epoch else "StatelessInfiniteSampler"
        sampler = f"wavemix_mm.{stateless}" if name == "train" else "DefaultSampler"
        assert loader.sampler == dict(type=sampler, shuffle=name == "train")
        assert name == "train" or not loader.get("drop_last")  # metrics are of all images
        if cfg.default_scope == "mmpretrain":
            assert loader.pin_memory
            assert loader.collate_fn == dict(type="default_collate")
    # under the toolboxes' scopes, our types are found by their prefix alone
    types = {node["type"] for node in dicts(cfg._cfg_dict) if "type" in node}
    assert not types & OURS

    dataset = cfg.train_dataloader.dataset
    dataset = dataset.get("dataset", dataset)  # inside of MultiImageMixDataset
    with DATASETS.switch_scope_and_registry(cfg.default_scope) as registry:
        metainfo = dict(registry.get(dataset.type).METAINFO) | dict(dataset.get("metainfo") or {})
    if cfg.default_scope == "mmseg":
        assert cfg.model.decode_head.num_classes == len(metainfo["classes"])
    else:
        assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes
        classes = metainfo.get("classes")
        assert classes is None or cfg.model.head.num_classes == len(classes)


@pytest.mark.parametrize("path", ABLATIONS, ids=config_name)
def test_ablation_changes_one_thing(path):
    cfg, reference = (read(file)._cfg_dict for file in (path, ABLATIONS[0]))
    assert not {node["type"] for node in dicts(cfg) if "type" in node} & OURS
    net = build(Config(cfg)).backbone
    assert net(torch.empty(1, 3, 32, 32, device="meta"))[-1].shape[:2] == (1, 16)
    backbone, expected = (dict(config["model"].pop("backbone")) for config in (cfg, reference))
    assert cfg == reference
    changed = [key for key in backbone if backbone[key] != expected.get(key)]
    assert len(changed) == (path != ABLATIONS[0])
    assert path == ABLATIONS[0] or len(path.read_text().splitlines()) <= 6


def test_ablations_of_the_paper():
    """Section 4.6 and Tables 12 to 14, with every wavelet of the table."""
    assert ABLATIONS[0].stem == "haar"
    with (ROOT / "configs" / "wavemix" / "paper_rows.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["id"].startswith("t13")]
    wavelets = {row["extra"].partition("wavelet=")[2].partition(";")[0] for row in rows}
    names = {path.stem for path in ABLATIONS}
    assert {f"wavelet_{name}" for name in wavelets - {"db1"}} < names and len(wavelets) == 12
    studies = {name.partition("_")[0] for name in names}
    assert studies == {"haar", "wavelet", "mixer", "levels", "stem", "upsample"}
    for path in ABLATIONS:
        if path.stem.startswith("wavelet_"):
            mixer = read(path).model.backbone.token_mixer
            assert f"wavelet_{mixer.wavelet}" == path.stem


CAMVID = 480, 360  # pixels of an image


@pytest.mark.parametrize("path", SEGMENTATION, ids=lambda path: path.stem)
def test_segmentation_configs_have_scales_flips_and_windows_to_test_with(path):
    cfg = read(path)
    assert cfg.tta_model.type == "SegTTAModel"
    (step,) = [step for step in cfg.tta_pipeline if step.type == "TestTimeAug"]
    scales, flips = step.transforms[:2]
    assert len(scales) == 3 and [flip.prob for flip in flips] == [0.0, 1.0]
    (resize,) = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == "Resize"]
    width, height = CAMVID  # whose configs give factors
    sizes = [
        scale.get("scale") or (scale.scale_factor * width, scale.scale_factor * height)
        for scale in scales
    ]
    assert resize.scale in sizes
    test_cfg = cfg.model.test_cfg
    assert test_cfg.mode == "whole"  # as the paper evaluates
    assert all(stride % 64 == 0 for stride in test_cfg.stride)
    for crop, stride, side in zip(
        test_cfg.crop_size, test_cfg.stride, resize.scale[::-1], strict=True
    ):
        assert stride < crop <= side


def test_bases_are_relative():
    """A base such as mmseg::... fails where mmengine's map of packages is out of date."""
    for path in ALL_CONFIGS:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
                bases = ast.literal_eval(node.value)
                for base in [bases] if isinstance(bases, str) else bases:
                    assert base.startswith("."), path


def test_model_index_lists_the_metafile():
    index = yaml.safe_load((ROOT / "model-index.yml").read_text())
    assert index["Import"] == [f"configs/{name}/metafile.yml" for name in ("wavemix", "detection")]
    assert {model["Name"] for model in METAFILE["Models"]} == {path.stem for path in CONFIGS}


def test_cityscapes_is_the_best_model_of_the_paper():
    """With the recipe of section 4.2; test_paper_table.py compares the networks of all rows."""
    cfg = read("cityscapes.py")
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
    ("name", "size"),
    [("cityscapes_512x1024.py", (512, 1024)), ("cityscapes_256x512.py", (256, 512))],
)
def test_sizes_of_table_6(name, size):
    cfg = read(name)
    assert cfg.model.data_preprocessor.size == size
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        (resize,) = (t for t in loader.dataset.pipeline if t.type == "Resize")
        assert resize.scale == size[::-1]


def test_released_architecture():
    head = build(read("cityscapes_in1k-192-16-l3.py")).decode_head
    assert [(m.in_channels, m.out_channels) for m in head.upsamples] == [(192, 128), (128, 64)]


def test_initial_weights_of_camvid():
    torch.manual_seed(0)
    model = build(read("camvid.py"), "cpu")
    model.init_weights()
    head = model.decode_head
    weights = (model.backbone.blocks[0].paths[0].expand, head.conv_seg, head.upsamples[0])
    # sqrt(2 / fan_in); Xavier sqrt(2 / (16 * (64 + 32)))
    assert [layer.weight.std().item() for layer in weights] == pytest.approx(
        [(2 / 96) ** 0.5, 0.1, (2 / (16 * 96)) ** 0.5], rel=0.2
    )


def test_camvid_64_6_takes_the_whole_backbone_of_its_pretraining(tmp_path):
    pretraining = read("cifar10_64-6-l3_pretrain.py")
    pretrained = build(pretraining, "cpu")
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    file = tmp_path / "pretrained.pth"
    torch.save(dict(state_dict=pretrained.state_dict()), file)
    cfg = read("camvid_64-6.py")
    init_cfg = cfg.model.backbone.init_cfg
    epochs = pretraining.train_cfg.max_epochs
    assert init_cfg.checkpoint == f"work_dirs/cifar10_64-6-l3_pretrain/epoch_{epochs}.pth"
    init_cfg.checkpoint = str(file)
    model = build(cfg, "cpu")
    model.init_weights()
    torch.testing.assert_close(
        dict(model.backbone.state_dict()), dict(pretrained.backbone.state_dict()), rtol=0, atol=0
    )


FIRST_OF_EACH_FOLDER = {path.parent: path for path in reversed(ALL_CONFIGS)}.values()


@pytest.mark.parametrize("path", FIRST_OF_EACH_FOLDER, ids=config_name)
def test_base_from_another_folder_is_read_as_by_its_path(path, tmp_path):
    """mmengine would write the scope wavemix_mm into it, where no type of a toolbox is known."""
    name = config_name(path)
    spellings = {
        "py": f"_base_ = ['wavemix_mm::{name}']\n",
        "json": f'{{"_base_": "wavemix_mm::{name.removesuffix(".py")}"}}\n',
    }
    expected = read(path)
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
