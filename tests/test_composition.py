"""Our backbone under other heads: forward and a training step.

More networks, our head on another backbone among them, are those of `test_baselines.py`.
"""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.optim import SGD

CLASSES = 5
SIZE = (64, 96)
NORM = dict(type="BN")


@pytest.mark.parametrize(
    ("head", "out_indices"),
    [
        (dict(type="FCNHead", in_channels=16, channels=8), -1),
        (
            dict(type="SegformerHead", in_channels=[16] * 4, in_index=[0, 1, 2, 3], channels=8),
            (0, 1, 2, 3),
        ),
        (
            dict(
                type="DepthwiseSeparableASPPHead",
                in_channels=16,
                in_index=1,
                channels=8,
                c1_in_channels=16,
                c1_channels=4,
                dilations=(1, 2),
            ),
            (0, 3),
        ),
    ],
    ids=["fcn", "segformer", "aspp"],
)
def test_wavemix_under_mmseg_heads(head, out_indices):
    """The gradient of a step reaches every parameter, and the step the first layer."""
    backbone = dict(
        type="wavemix_mm.WaveMix",
        embed_dims=16,
        depth=4,
        levels=2,
        stem=dict(type="wavemix_mm.StridedStem"),
        out_indices=out_indices,
    )
    head = dict(head, num_classes=CLASSES, norm_cfg=NORM)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(
            dict(
                type="EncoderDecoder",
                backbone=backbone,
                decode_head=head,
                train_cfg=dict(),
                test_cfg=dict(mode="whole"),
            )
        )
    inputs = torch.rand(2, 3, *SIZE)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, CLASSES, (1, *SIZE)))
        samples.append(sample)
    assert model.eval()(inputs).shape[:2] == (2, CLASSES)

    model.train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = model.loss(inputs, samples)
    loss = sum(value for name, value in losses.items() if "loss" in name)
    loss.backward()
    SGD(model.parameters(), lr=0.1).step()
    changed = [n for n, v in model.named_parameters() if not torch.equal(v, before[n])]
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert any(name.startswith("backbone.stem") for name in changed)
