"""The package grad-cam on WaveMix, against Grad-CAM written out, as docs/analysis.md shows it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, SemanticSegmentationTarget
from tiny_models import make_model, write_configs
from torch import nn


class Logits(nn.Module):
    """Classifier (N, K), or segmentor (N, K, H, W) at the size of the images."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        logits = self.model(images, mode="tensor")
        return F.interpolate(logits, images.shape[-2:]) if logits.ndim == 4 else logits


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("layer", ["blocks.0", "stem.conv2"])
def test_grad_cam(task, layer, tmp_path):
    model = make_model(write_configs(tmp_path)[task])
    network, images = Logits(model), torch.rand(1, 3, 32, 48)
    module = model.backbone.get_submodule(layer)
    if task == "segmentation":
        region = np.zeros((32, 48), np.float32)
        region[8:20, 8:30] = 1
        target = SemanticSegmentationTarget(3, region)
        total = lambda logits: (logits[0, 3] * torch.from_numpy(region)).sum()  # noqa: E731
    else:
        target = ClassifierOutputTarget(3)
        total = lambda logits: logits[0, 3]  # noqa: E731
    with GradCAM(model=network, target_layers=[module]) as cam:
        (found,) = cam(input_tensor=images, targets=[target])

    maps = []
    handle = module.register_forward_hook(lambda m, inputs, output: maps.append(output))
    score = total(network(images))
    handle.remove()
    (gradient,) = torch.autograd.grad(score, maps[0])
    expected = (gradient.mean((2, 3), keepdim=True) * maps[0]).sum(1).relu()[0].detach()
    expected -= expected.min()
    expected = F.interpolate(expected[None, None], (32, 48), mode="bilinear")[0, 0]
    assert found.shape == (32, 48) and expected.max() > 0
    np.testing.assert_allclose(found, expected / expected.max(), atol=0.02)
