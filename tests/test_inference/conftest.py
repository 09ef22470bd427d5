"""Tiny models with random weights for both tasks."""

from pathlib import Path

import pytest
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


@pytest.fixture(scope="session")
def configs(tmp_path_factory) -> dict[str, Path]:
    """A config file for each task."""
    folder = tmp_path_factory.mktemp("configs")
    for task, text in CONFIGS.items():
        (folder / f"{task}.py").write_text(text)
    return {task: folder / f"{task}.py" for task in CONFIGS}


@pytest.fixture
def make_model(configs):
    """A function that builds the model of a task."""

    def make(task, **options):
        model = init_model(configs[task], device="cpu", cfg_options=options)
        if task == "segmentation":  # its classifier starts with weights near zero
            torch.nn.init.normal_(model.decode_head.conv_seg.weight)
        return model

    return make
