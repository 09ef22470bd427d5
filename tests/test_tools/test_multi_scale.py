"""tools/test.py with --tta and in slide mode, on the Cityscapes configs with small networks."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from test_synthetic_cityscapes import write
from test_train import ROOT, run_main

from wavemix_mm.apis import init_model

TINY = """
_base_ = [{base!r}]
model = dict(
    backbone=dict(embed_dims=8, depth=1, levels=2, ff_channels=8, mlp_ratio=2),
    decode_head=dict(in_channels=8, mid_channels=4, channels=4),
)
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r})
)
"""
SEGMENTATION = [
    path
    for path in sorted((ROOT / "configs" / "wavemix").glob("*.py"))
    if Config.fromfile(path).default_scope == "mmseg"
]


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    """Three validation images of 64x128."""
    folder = tmp_path_factory.mktemp("streets")
    write(folder, "--height", 64, "--width", 128, "--train", 3, "--val", 3)
    return folder


@pytest.fixture
def run(streets, tmp_path, randomize_norms):
    """A function that tests a tiny network on a config's data; the label maps, and the network."""
    base = str(ROOT / "configs" / "wavemix" / "cityscapes_256x512.py")
    config = tmp_path / "tiny.py"
    config.write_text(TINY.format(base=base, data=str(streets)))
    model = init_model(config, None, "cpu")
    randomize_norms(model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=2)
    torch.save(model.state_dict(), tmp_path / "tiny.pth")

    def run(name, *options):
        out = tmp_path / name
        run_main(
            "test", config, tmp_path / "tiny.pth", "--work-dir", tmp_path / "w", "--out", out,
            *options,
        )  # fmt: skip
        maps = {path.name: cv2.imread(str(path), -1) for path in sorted(out.glob("*.png"))}
        assert len(maps) == 3 and all(len(np.unique(labels)) > 2 for labels in maps.values())
        return maps, model

    return run


def probabilities(model, image, scale, flip):
    """What one of the augmented images gives, at the size of the image."""
    size = (int(512 * scale), int(256 * scale))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    pixels = torch.from_numpy(scaled[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    pixels = (pixels - mean) / std
    with torch.no_grad():
        logits = model(pixels.flip(3) if flip else pixels, mode="tensor")
    logits = F.interpolate(logits, size[::-1], mode="bilinear")
    logits = logits.flip(3) if flip else logits
    return F.interpolate(logits, image.shape[:2], mode="bilinear").softmax(1)


def test_tta_is_the_mean_over_scales_and_flips(run, streets):
    single, model = run("single")
    maps, _ = run("tta", "--tta")
    for name, labels in maps.items():
        (file,) = streets.glob(f"leftImg8bit/val/*/{Path(name).stem}.png")
        image = cv2.imread(str(file))
        views = [(scale, flip) for scale in (0.75, 1.0, 1.25) for flip in (False, True)]
        total = sum(probabilities(model, image, *view) for view in views)
        assert np.mean(total.argmax(1)[0].numpy() == labels) > 0.999
        one = probabilities(model, image, 1.0, False).argmax(1)[0].numpy()
        assert np.mean(one == single[name]) > 0.999
        assert np.mean(single[name] == labels) < 0.99  # the others count


def test_slide_equals_whole_where_one_window_holds_the_image(run):
    whole, _ = run("whole")
    slide = ["--cfg-options", "model.test_cfg.mode=slide"]
    one, _ = run("one", *slide, "model.test_cfg.crop_size=(256,512)")
    windows, _ = run("windows", *slide)
    for name, labels in whole.items():
        assert np.array_equal(one[name], labels)
        assert 0.8 < np.mean(windows[name] == labels) < 1  # they differ near their borders


def logits(model, images, **test_cfg):
    model.test_cfg.update(test_cfg)
    shape = tuple(images.shape[2:])
    with torch.no_grad():
        return model.inference(images, [dict(ori_shape=shape, img_shape=shape, pad_shape=shape)])


def largest_difference(model, images, stride, reach=64):
    """Between slide and whole mode, at `reach` pixels and more from the windows' inner edges."""
    whole = logits(model, images, mode="whole")
    windows = logits(model, images, mode="slide", crop_size=(256, 256), stride=(stride, stride))
    inside = torch.ones(images.shape[2:], dtype=torch.bool)
    for axis, length in enumerate(images.shape[2:]):
        for start in {min(k * stride, length - 256) for k in range(length // stride + 1)}:
            for edge in {start, start + 256} - {0, length}:
                near = inside.narrow(axis, edge - reach, 2 * reach)
                near.fill_(False)
    assert 0.1 < inside.float().mean() < 0.9
    assert not torch.allclose(windows, whole, rtol=1e-3)  # near the edges they differ
    difference = (windows - whole)[:, :, inside].abs().max() / whole.abs().max()
    return difference.item()


def test_slide_equals_whole_far_from_the_windows_edges(run):
    """Where the windows start on the transform's grid; elsewhere its cells are others."""
    _, model = run("whole")
    images = torch.randn(1, 3, 448, 640)
    assert largest_difference(model, images, 192) <= 1e-5
    assert largest_difference(model, torch.randn(1, 3, 452, 644), 196) > 1e-3


CAMVID = 480, 360  # pixels of an image


@pytest.mark.parametrize("path", SEGMENTATION, ids=lambda path: path.stem)
def test_every_segmentation_config_has_both(path):
    cfg = Config.fromfile(path)
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
