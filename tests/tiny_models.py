"""Tiny models of both tasks with random weights, as files."""

from pathlib import Path

import torch

from wavemix_mm.apis import init_model

CONFIGS = {
    "segmentation": """
_base_ = "wavemix_mm::wavemix/camvid.py"
model = dict(
    data_preprocessor=dict(size=(48, 64)),
    backbone=dict(embed_dims=8, depth=1, levels=2),
    decode_head=dict(in_channels=8, mid_channels=4, channels=4),
)
""",
    "classification": """
_base_ = "wavemix_mm::wavemix/cifar10_32-7.py"
model = dict(backbone=dict(embed_dims=8, depth=1), head=dict(in_channels=8))
""",
}

# A tta_pipeline that averages over an image and its mirror image.
FLIPS = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomFlip", prob=p, direction="horizontal") for p in (0.0, 1.0)],
            [dict(type="LoadAnnotations")],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def write_configs(folder: Path) -> dict[str, Path]:
    """Write a config for each task; return the files."""
    for task, text in CONFIGS.items():
        (folder / f"{task}.py").write_text(text)
    return {task: folder / f"{task}.py" for task in CONFIGS}


def make_model(config: Path, **options):
    """Build the model of a config on the CPU."""
    torch.manual_seed(0)
    model = init_model(config, device="cpu", cfg_options=options)
    if hasattr(model, "decode_head"):  # its classifier starts with weights near zero
        torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    return model
