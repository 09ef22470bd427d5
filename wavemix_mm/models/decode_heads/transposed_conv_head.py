"""The segmentation head of the paper."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.fast import speed_up
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class TransposedConvHead(BaseDecodeHead):
    """Transposed convolutions (kernel 4, stride 2, padding 1), then a 1x1 to the classes.

    No norm and no activation stand between them (section 4.3 and Figure 1b).

    Args:
        in_channels: Channels C of the features.
        channels: Channels of the last transposed convolution, C/4 in the paper.
        num_classes: Number of classes.
        mid_channels: Channels of the transposed convolutions before the last. Defaults to C/2.
        num_upsamples: Number of transposed convolutions; each doubles both sides. With 0,
            ``channels`` is in_channels.
        dropout_ratio: Dropout before the 1x1 convolution; the paper has none.
        fast: Exchange layers for faster ones with equal results, as in `WaveMix`.
        **kwargs: The other arguments of mmseg's BaseDecodeHead.

    Raises:
        UserInputError: If num_upsamples is negative, or 0 while the channels differ.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_classes: int,
        mid_channels: int | None = None,
        num_upsamples: int = 2,
        dropout_ratio: float = 0.0,
        fast: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels, channels, num_classes=num_classes, dropout_ratio=dropout_ratio, **kwargs
        )
        if num_upsamples < 0:
            raise UserInputError(
                f"num_upsamples={num_upsamples} of TransposedConvHead is negative."
            )
        if num_upsamples == 0 and channels != self.in_channels:
            raise UserInputError(
                f"channels={channels} of TransposedConvHead must equal in_channels="
                f"{self.in_channels} if num_upsamples=0."
            )
        widths = [self.in_channels]
        widths += [mid_channels or self.in_channels // 2] * (num_upsamples - 1)
        widths += [channels] * min(num_upsamples, 1)
        self.upsamples = nn.Sequential(
            *(
                nn.ConvTranspose2d(wide, narrow, kernel_size=4, stride=2, padding=1)
                for wide, narrow in zip(widths[:-1], widths[1:], strict=True)
            )
        )
        if fast:
            speed_up(self.upsamples)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Features (N, C, H, W) -> logits (N, num_classes, H * 2**n, W * 2**n), n upsamplings."""
        return self.cls_seg(self.upsamples(self._transform_inputs(inputs)))

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses and pixel accuracy, as BaseDecodeHead's but leaner.

        Logits that have the labels' size already are not copied by a resize, and the accuracy takes
        an argmax instead of a sort: in a small network both cost as much as several blocks.

        Args:
            seg_logits: (N, num_classes, h, w).
            batch_data_samples: N SegDataSamples with ``gt_sem_seg`` (1, H, W).

        Returns:
            Each loss by its name, and 'acc_seg', the percentage of right pixels.
        """
        labels = self._stack_batch_gt(batch_data_samples)
        if seg_logits.shape[2:] != labels.shape[2:]:
            seg_logits = resize(
                seg_logits, labels.shape[2:], mode="bilinear", align_corners=self.align_corners
            )
        weight = None if self.sampler is None else self.sampler.sample(seg_logits, labels)
        labels = labels.squeeze(1)
        modules = self.loss_decode
        losses: dict[str, Tensor] = {}
        for module in modules if isinstance(modules, nn.ModuleList) else [modules]:
            loss = module(seg_logits, labels, weight=weight, ignore_index=self.ignore_index)
            losses[module.loss_name] = losses.get(module.loss_name, 0) + loss
        counted = labels != self.ignore_index
        correct = (seg_logits.detach().argmax(dim=1) == labels) & counted
        losses["acc_seg"] = 100 * correct.sum() / counted.sum().clamp(min=1)
        return losses

    def switch_to_deploy(self) -> None:
        """Fold the 1x1 to the classes into the last transposed convolution, in place.

        Both are linear, so the logits stay equal to 1e-5 relative in float32. Nothing is folded if
        that would cost more: with many more classes than channels. Sets evaluation mode.
        """
        self.eval()
        if len(self.upsamples) == 0 or not isinstance(self.conv_seg, nn.Conv2d):
            return
        last, classify = self.upsamples[-1], self.conv_seg
        narrow, classes = last.out_channels, classify.out_channels
        taps = 4  # number of taps of the 4x4 kernel that reach one output pixel at stride 2
        if taps * last.in_channels * (classes - narrow) > narrow * classes:
            return
        folded = nn.ConvTranspose2d(last.in_channels, classes, 4, stride=2, padding=1)
        folded.to(last.weight)
        with torch.no_grad():
            weight = classify.weight[:, :, 0, 0].double()
            folded.weight.copy_(torch.einsum("icyx,kc->ikyx", last.weight.double(), weight))
            folded.bias.copy_(weight @ last.bias.double() + classify.bias.double())
        self.upsamples[-1] = folded
        self.conv_seg = nn.Identity()
