"""The two initial layers of the paper (section 3.1, Table 12)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.composite_conv import compose, composite_conv
from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer
from wavemix_mm.registry import MODELS


class CompositeStem(nn.Module):
    """A stem that begins with two or more convolutions, computed as one.

    Its first layer is `conv1`, 3x3 with padding 1; those that follow are one convolution with
    padding 1, which `_following` gives.
    """

    conv1: nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        self.composed: nn.ParameterList | None = None

    def switch_to_deploy(self) -> None:
        """Compute once what is otherwise computed of the weights in each forward pass."""
        with torch.no_grad():
            following = self._following()
            whole = compose((self.conv1.weight, self.conv1.bias), following, self.conv1.stride[0])
        self.composed = nn.ParameterList([*following, *whole])

    def _following(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the layers after `conv1`, as one."""
        raise NotImplementedError

    def _convolve(self, x: Tensor, stride: int) -> Tensor:
        """All of the convolutions; `stride` is that of those after `conv1`."""
        if self.composed is None:
            return composite_conv(x, self.conv1, self._following(), stride)
        weight, bias, *whole = self.composed
        return composite_conv(x, self.conv1, (weight, bias), stride, tuple(whole))


@MODELS.register_module()
class StridedStem(CompositeStem):
    """Two 3x3 convolutions, in_channels -> C/2 -> C, without norm or activation.

    The paper's choice for segmentation (stride 2 each) and for images under 128x128 (stride 1). The
    two are computed as one convolution; see ``composite_conv.py``.

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels C to give, even.
        stride: Stride of each of the two convolutions.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride**2
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 2, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(embed_dims // 2, embed_dims, 3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/stride**2, W/stride**2), each side rounded up."""
        if torch.compiler.is_exporting():  # where a side may be unknown
            return self.conv2(self.conv1(x))
        return self._convolve(x, self.conv2.stride[0])

    def _following(self) -> tuple[Tensor, Tensor]:
        return self.conv2.weight, self.conv2.bias  # type: ignore[return-value]


@MODELS.register_module()
class PatchStem(CompositeStem):
    """Patchifying layer: 3x3 to C/4, 3x3 to C/2, patch convolution to C, GELU, batch norm.

    The paper's choice for images of 128x128 and more. The three convolutions are computed as one;
    see ``composite_conv.py``.

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels C to give, divisible by 4.
        patch_size: Kernel and stride of the last convolution.
        norm_cfg: Normalization layer.
        act_cfg: Activation layer.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int = 4,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.stride = patch_size
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 4, 3, padding=1)
        self.conv2 = nn.Conv2d(embed_dims // 4, embed_dims // 2, 3, padding=1)
        self.patch_conv = nn.Conv2d(embed_dims // 2, embed_dims, patch_size, patch_size)
        self.act = build_act_layer(act_cfg or dict(type="GELU"))
        self.norm = build_norm_layer(norm_cfg or dict(type="BN"), embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/patch_size, W/patch_size), each side rounded down.

        An image smaller than one patch is zero-padded at the bottom and right to one patch.

        Raises:
            UserInputError: If one patch alone is to train a batch norm.
        """
        height, width = x.shape[-2:]
        if torch.compiler.is_exporting() or height < self.stride or width < self.stride:
            x = self.conv2(self.conv1(x))
            x = F.pad(x, (0, max(self.stride - width, 0), 0, max(self.stride - height, 0)))
            x = self._embed_patches(x)
        else:
            x = self._convolve(x, self.stride)
        # not SyncBatchNorm, for which other processes have values too
        trains_batch_norm = self.norm.training and isinstance(self.norm, nn.BatchNorm2d)
        if trains_batch_norm and x.numel() == x.shape[1]:
            raise UserInputError(
                f"a batch of one image of {width}x{height} pixels is one patch of {self.stride}x"
                f"{self.stride}: batch norm cannot be trained on a single value; take more images "
                "or larger ones."
            )
        return self.norm(self.act(x))

    def _embed_patches(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return self.patch_conv(x)
        # By hand, since with some widths oneDNN's bfloat16 convolution of patches is wrong on CPUs
        # with AMX (torch 2.11); only images of less than one patch come here.
        rows, columns = (side // self.stride for side in x.shape[-2:])
        patches = F.unfold(x, self.stride, stride=self.stride).transpose(1, 2)
        x = F.linear(patches, self.patch_conv.weight.flatten(1), self.patch_conv.bias)
        return x.transpose(1, 2).unflatten(2, (rows, columns))

    def _following(self) -> tuple[Tensor, Tensor]:
        # The patches have no padding of their own: that of conv2 is the padding of the two.
        return compose(
            (self.conv2.weight, self.conv2.bias), (self.patch_conv.weight, self.patch_conv.bias)
        )
