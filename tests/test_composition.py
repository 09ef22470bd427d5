"""Our backbone under other heads, our head on other backbones: forward and a training step."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from torch.optim import SGD

CLASSES = 5
SIZE = (64, 96)


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def wavemix(**kwargs):
    return dict(
        type="wavemix_mm.WaveMix",
        embed_dims=16,
        depth=4,
        levels=2,
        stem=dict(type="wavemix_mm.StridedStem"),
        **kwargs,
    )


def step(model, inputs, samples):
    """One optimizer step: the gradient reaches every parameter, and the step the first layer."""
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


def run_segmentor(backbone, decode_head, neck=None):
    from mmseg.structures import SegDataSample

    model = MODELS.build(
        dict(
            type="EncoderDecoder",
            backbone=backbone,
            neck=neck,
            decode_head=dict(num_classes=CLASSES, **decode_head),
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
    logits = model.eval()(inputs)
    assert logits.shape[:2] == (2, CLASSES)
    step(model, inputs, samples)
    return logits


FOUR = dict(in_channels=[16] * 4, in_index=[0, 1, 2, 3])
NORM = dict(type="BN")


@pytest.mark.parametrize(
    ("head", "neck", "out_indices"),
    [
        (dict(type="FCNHead", in_channels=16, channels=8, norm_cfg=NORM), None, -1),
        (
            dict(type="UPerHead", channels=8, norm_cfg=NORM, **FOUR),
            dict(type="Feature2Pyramid", embed_dim=16, rescales=[4, 2, 1, 0.5], norm_cfg=NORM),
            (0, 1, 2, 3),
        ),
        (
            dict(type="UPerHead", channels=8, norm_cfg=NORM, **FOUR),
            dict(type="MultiLevelNeck", in_channels=[16] * 4, out_channels=16),
            (0, 1, 2, 3),
        ),
        (
            dict(type="UPerHead", channels=8, norm_cfg=NORM, **FOUR),
            dict(type="wavemix_mm.WaveletPyramid", in_channels=16, out_channels=16, num_outs=4),
            -1,
        ),
        (dict(type="SegformerHead", channels=8, norm_cfg=NORM, **FOUR), None, (0, 1, 2, 3)),
        (
            dict(
                type="DepthwiseSeparableASPPHead",
                in_channels=16,
                in_index=1,
                channels=8,
                c1_in_channels=16,
                c1_channels=4,
                dilations=(1, 2),
                norm_cfg=NORM,
            ),
            None,
            (0, 3),
        ),
        (dict(type="wavemix_mm.TransposedConvHead", in_channels=16, channels=4), None, -1),
    ],
    ids=[
        "fcn",
        "uper-feature2pyramid",
        "uper-multilevel",
        "uper-pyramid",
        "segformer",
        "aspp",
        "transposed",
    ],
)
def test_wavemix_under_mmseg_heads(head, neck, out_indices):
    run_segmentor(wavemix(out_indices=out_indices), head, neck)


@pytest.mark.parametrize("mixing", [True, False])
def test_wavemix_in_an_image_classifier(mixing):
    from mmpretrain.structures import DataSample

    neck, channels = dict(type="GlobalAveragePooling"), 16
    if mixing:
        channels = 32
        neck = dict(type="wavemix_mm.ChannelMixing", in_channels=16, out_channels=channels)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(
            dict(
                type="ImageClassifier",
                backbone=wavemix(),
                neck=neck,
                head=dict(type="LinearClsHead", in_channels=channels, num_classes=CLASSES),
            )
        )
        inputs = torch.rand(2, 3, *SIZE)
        assert model.eval()(inputs, mode="tensor").shape == (2, CLASSES)
        step(model, inputs, [DataSample().set_gt_label(i) for i in (0, 3)])


CONVMIXER = dict(embed_dims=16, depth=1, patch_size=7, kernel_size=3)


@pytest.mark.parametrize(
    ("backbone", "channels", "stride"),
    [
        (dict(type="mmpretrain.ConvMixer", arch=CONVMIXER), 16, 7),
        (dict(type="ResNetV1c", depth=18, norm_cfg=NORM), 512, 32),
    ],
    ids=["mmpretrain-convmixer", "mmseg-resnet"],
)
def test_transposed_conv_head_on_other_backbones(backbone, channels, stride):
    head = dict(type="wavemix_mm.TransposedConvHead", in_channels=channels, channels=8)
    logits = run_segmentor(backbone, head | dict(in_index=-1))
    assert logits.shape[2:] == tuple(4 * (side // stride) for side in SIZE)
