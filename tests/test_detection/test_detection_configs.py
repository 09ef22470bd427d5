"""Each config of configs/detection builds, takes a training step and predicts; its parameters."""

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import wavemix_mm.detection  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "detection"
FILES = sorted(CONFIGS.glob("*.py"))
METAFILE = yaml.safe_load((CONFIGS / "metafile.yml").read_text())
ENTRIES = {entry["Name"]: entry for entry in METAFILE["Models"]}
# other backbones, with their parameters
BASELINES = {
    "bccd_r18": 11_575_437,
    "bccd_r18-w34": 3_529_167,
    "nuclei_r18": 12_421_526,
    "nuclei_r18-w34": 4_375_256,
}


def build(cfg):
    from mmdet.registry import MODELS

    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(cfg.model)


def loader(cfg, split, folder, classes):
    """The config's loader, for the drawn images: 64x48, with polygons."""
    loader = cfg[f"{split}_dataloader"].copy()
    loader.update(num_workers=0, persistent_workers=False, batch_size=2)
    dataset = loader.dataset
    dataset.update(
        data_root=str(folder),
        ann_file=f"{split}/annotations.json",
        data_prefix=dict(img=f"{split}/images/"),
        metainfo=dict(classes=classes),
    )
    for step in dataset.pipeline:
        if "scale" in step:
            step.scale = (64, 48)
        if "crop_size" in step:
            step.crop_size = (48, 48)
        if step.type == "Pad":
            step.size = (48, 48)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return Runner.build_dataloader(loader, seed=0)


def test_metafile_and_readme_list_every_config():
    assert ENTRIES.keys() | BASELINES.keys() == {file.stem for file in FILES}
    assert not ENTRIES.keys() & BASELINES.keys()
    for name, entry in ENTRIES.items():
        assert entry["Config"] == f"configs/detection/{name}.py"
    text = (CONFIGS / "README.md").read_text()
    assert all(f"[{file.name}]({file.name})" in text for file in FILES)


@pytest.mark.parametrize("name", BASELINES)
def test_only_the_backbone_of_a_baseline_differs(name):
    short = f"{name.partition('_')[0]}_short"
    cfg, base = (Config.fromfile(CONFIGS / f"{stem}.py") for stem in (name, short))
    assert cfg.model.pop("backbone").type == "ResNet"
    assert len(cfg.model.neck.in_channels) == 4
    del base.model.backbone, cfg.model.neck.in_channels, base.model.neck.in_channels
    for key in base:
        assert cfg[key] == base[key], key


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_step_and_a_prediction(file, coco_folder):
    cfg = Config.fromfile(file)
    cfg.model.backbone.init_cfg = None
    model = build(cfg).train()
    expected = BASELINES.get(file.stem) or ENTRIES[file.stem]["Metadata"]["Parameters"]
    assert sum(p.numel() for p in model.parameters()) == expected
    classes = ("box",) if file.stem.startswith("nuclei") else ("box", "disc")
    statistics = [b.clone() for b in model.backbone.buffers() if b.numel() > 1]
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batch = next(iter(loader(cfg, "train", coco_folder, classes)))
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    for name, parameter in model.backbone.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    wrapper.step()
    now = [b for b in model.backbone.buffers() if b.numel() > 1]
    kept = all(torch.equal(a, b) for a, b in zip(statistics, now, strict=True))
    assert kept == (not statistics or bool(cfg.model.backbone.get("norm_eval")))

    batch = next(iter(loader(cfg, "val", coco_folder, classes)))
    with torch.no_grad():
        samples = model.eval().val_step(batch)
    assert len(samples) == 2
    for sample in samples:
        found = sample.pred_instances
        assert found.bboxes.shape == (len(found.scores), 4)
        if cfg.model.type == "MaskRCNN":
            assert found.masks.shape == (len(found), 48, 64)


def test_analysis_tools_build_a_two_stage_detector(monkeypatch):
    monkeypatch.syspath_prepend(CONFIGS.parents[1] / "tools" / "analysis_tools")
    from measuring.models import build_model

    assert sum(p.numel() for p in build_model(["nuclei"]).parameters()) == 2_368_022
