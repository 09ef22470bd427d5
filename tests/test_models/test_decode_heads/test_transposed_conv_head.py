import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.decode_heads.transposed_conv_head import TransposedConvHead


@pytest.mark.parametrize("num_upsamples", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [(5, 8), (1, 1)], ids=str)
def test_each_upsampling_doubles_both_sides(size, num_upsamples):
    channels = 4 if num_upsamples else 16
    head = TransposedConvHead(
        16, channels, num_classes=7, mid_channels=6, num_upsamples=num_upsamples
    )
    logits = head((torch.randn(2, 9, 1, 1), torch.randn(2, 16, *size)))  # the last map counts
    factor = 2**num_upsamples
    assert logits.shape == (2, 7, factor * size[0], factor * size[1])
    assert [layer.out_channels for layer in head.upsamples] == [6, 6, 4][3 - num_upsamples :]


def test_bad_arguments_are_named():
    with pytest.raises(UserInputError, match="num_upsamples=-1 "):
        TransposedConvHead(16, 4, num_classes=7, num_upsamples=-1)
    with pytest.raises(UserInputError, match="channels=4 .* in_channels=16"):
        TransposedConvHead(16, 4, num_classes=7, num_upsamples=0)


@pytest.mark.parametrize("size", [(12, 16), (9, 14)], ids=str)
@pytest.mark.parametrize("sampler", [None, dict(type="OHEMPixelSampler", thresh=0.4, min_kept=20)])
def test_losses_are_those_of_mmseg(size, sampler):
    losses = [
        dict(type="wavemix_mm.SoftmaxFocalLoss"),
        dict(type="mmseg.CrossEntropyLoss", loss_name="loss_ce"),
        dict(type="mmseg.CrossEntropyLoss", loss_name="loss_ce", loss_weight=0.5),
    ]
    init_default_scope("mmseg")
    head = TransposedConvHead(16, 4, num_classes=3, loss_decode=losses, sampler=sampler)
    labels = torch.randint(0, 3, (2, 1, *size))
    labels[:, :, :2] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    logits = head((torch.randn(2, 16, 3, 4),))
    ours = head.loss_by_feat(logits, samples)
    theirs = BaseDecodeHead.loss_by_feat(head, logits, samples)
    assert ours.keys() == theirs.keys() == {"loss_focal", "loss_ce", "acc_seg"}
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value.squeeze(), rtol=1e-5, atol=0)


def test_accuracy_where_every_pixel_is_ignored():
    head = TransposedConvHead(
        16, 4, num_classes=3, loss_decode=dict(type="wavemix_mm.SoftmaxFocalLoss")
    )
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.full((1, 12, 16), 255)))
    losses = head.loss_by_feat(torch.randn(1, 3, 12, 16), [sample])
    assert losses["acc_seg"] == 0 and losses["loss_focal"] == 0


@pytest.mark.parametrize(
    "num_upsamples, num_classes, folded",
    [(0, 3, False), (1, 3, True), (2, 4, True), (1, 60, False), (2, 60, False)],
)
def test_switch_to_deploy(num_upsamples, num_classes, folded):
    channels = 4 if num_upsamples else 16
    head = TransposedConvHead(16, channels, num_classes=num_classes, num_upsamples=num_upsamples)
    nn.init.normal_(head.conv_seg.weight)
    x = (torch.randn(2, 16, 3, 5),)
    expected = head.eval()(x)
    plain = copy.deepcopy(head)
    head.train().switch_to_deploy()
    assert not head.training
    head.switch_to_deploy()  # once more changes nothing
    assert isinstance(head.conv_seg, nn.Identity) == folded
    assert (head(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert torch.equal(plain(x), expected)
