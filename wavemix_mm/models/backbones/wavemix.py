"""WaveMix: the stems, the block (Eq. 1-5) and the backbone.

This file is the network as the paper describes it, in PyTorch's own layers. Faster replacements of
some layers are in ``wavemix_mm/models/fast``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.arguments import (
    check_embed_dims,
    normalize_levels,
    parse_arch,
    resolve_out_indices,
)
from wavemix_mm.models.backbones.initial_weights import log_taken
from wavemix_mm.models.backbones.old_names import rename_old_keys
from wavemix_mm.models.fast import channels_last_gradient, fold_block, fold_stem, speed_up
from wavemix_mm.models.layers.convs import Concat, InTurn, PatchConv
from wavemix_mm.models.layers.inputs import check_not_empty, check_trains_batch_norm
from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer
from wavemix_mm.models.layers.recompute import recompute
from wavemix_mm.models.layers.tracing import crop, static_sides
from wavemix_mm.models.layers.upsample import build_upsample
from wavemix_mm.registry import MODELS, type_name


@MODELS.register_module()
class StridedStem(nn.Module):
    """Two 3x3 convolutions, in_channels -> C/2 -> C, without norm or activation (section 3.1).

    The paper's choice for segmentation (stride 2 each) and for images under 128x128 (stride 1).

    Args:
        in_channels: Channels of the image.
        embed_dims: Output channels C, even.
        stride: Stride of each of the two convolutions.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride**2
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 2, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(embed_dims // 2, embed_dims, 3, stride, padding=1)
        self.in_turn = InTurn()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/stride**2, W/stride**2), each side rounded up."""
        return self.in_turn(x, self.conv1, self.conv2)


@MODELS.register_module()
class PatchStem(nn.Module):
    """3x3 convolutions to C/4 and C/2, patch convolution to C, GELU, batch norm (section 3.1).

    The paper's choice for images of 128x128 and more.

    Args:
        in_channels: Channels of the image.
        embed_dims: Output channels C, divisible by 4.
        patch_size: Kernel and stride of the patch convolution.
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
        self.patch_conv = PatchConv(embed_dims // 2, embed_dims, patch_size)
        self.act = build_act_layer(act_cfg)
        self.norm = build_norm_layer(norm_cfg, embed_dims)
        self.in_turn = InTurn()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, C, H/patch_size, W/patch_size), each side rounded down.

        If an image is smaller than a patch, `PatchConv` pads it to one.

        Raises:
            UserInputError: If a single patch is to train a batch norm.
        """
        patches = self.in_turn(x, self.conv1, self.conv2, self.patch_conv)
        # SyncBatchNorm is another class: there other processes have values too
        if self.norm.training and isinstance(self.norm, nn.BatchNorm2d):
            check_trains_batch_norm(patches, x, self.stride)
        return self.norm(self.act(patches))


class LevelPath(nn.Sequential):
    """One level of a block: concatenation, MLP, upsampling, norm (Eq. 3, 4)."""

    def forward(self, bands: Tensor, higher: Tensor | None = None) -> Tensor:
        """Compute the output of the level from its sub-bands and the next higher level's output.

        (N, C, H, W)[, (N, C/2, H, W)] -> (N, out_channels, stride*H, stride*W).
        """
        concat, *layers = self
        x = concat(bands, higher)
        for layer in layers:
            x = layer(x)
        return x


class WaveMixBlock(nn.Module):
    """Mix tokens by a multi-level wavelet transform, and channels by an MLP at each level.

    ::

        x_0  = conv1x1(x)                      C -> C/4              Eq. 1
        x_l  = DWT(approximation of x_{l-1})   C/4 -> C              Eq. 2
        from the highest level down:
        y_l  = BN(deconv(MLP([x_l, y_{l+1}]))) C (+ C/2) -> C/2,     Eq. 3, 4
               to C at the lowest level
        out  = x + y_1                                               Eq. 5

    Level l+1 transforms the approximation of level l, so that L levels take L transforms.

    Args:
        embed_dims: Channels C, divisible by 4.
        levels: An int L means levels 1 to L. A sequence names the levels used, e.g. (3,) alone
            (Table 14); a path from level l to the next lower used level m (or to the input) then
            upsamples by 2**(l-m).
        ff_channels: Output channels of each MLP. Defaults to embed_dims (appendix A).
        mlp_ratio: Hidden channels of each MLP over embed_dims.
        dropout: Dropout probability inside the MLPs.
        token_mixer: Config of the transform or its replacement; see ``token_mixers.py``.
        upsample: 'deconv', 'idwt', 'bilinear' or 'bicubic'; see ``upsample.py``.
        norm_cfg: Normalization layer after the upsampling.
        act_cfg: Activation layer inside the MLPs.

    Raises:
        UserInputError: If ``embed_dims`` is not divisible by 4, or ``levels`` is empty, has a
            level below 1 or one level twice.
    """

    def __init__(
        self,
        embed_dims: int,
        levels: int | Sequence[int] = 3,
        ff_channels: int | None = None,
        mlp_ratio: float = 2,
        dropout: float = 0.5,
        token_mixer: dict | None = None,
        upsample: str = "deconv",
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        check_embed_dims(embed_dims)
        self.levels = normalize_levels(levels)
        self.reduction = nn.Conv2d(embed_dims, embed_dims // 4, kernel_size=1)
        self.token_mixer = MODELS.build(
            token_mixer or dict(type="wavemix_mm.DWTMixer", wavelet="haar")
        )
        wavelet = getattr(self.token_mixer, "wavelet", "haar")
        hidden_channels = int(embed_dims * mlp_ratio)
        ff_channels = ff_channels or embed_dims
        self.paths = nn.ModuleList()
        for level, target in zip(self.levels, (0, *self.levels), strict=False):
            in_channels = embed_dims if level == self.levels[-1] else embed_dims * 3 // 2
            out_channels = embed_dims // 2 if target else embed_dims
            stride = 2 ** (level - target)
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                concat=Concat(),
                expand=nn.Conv2d(in_channels, hidden_channels, kernel_size=1),  # Eq. 3
                act=build_act_layer(act_cfg),
                dropout=nn.Dropout(dropout),
                project=nn.Conv2d(hidden_channels, ff_channels, kernel_size=1),
                upsample=build_upsample(upsample, ff_channels, out_channels, stride, wavelet),
                norm=build_norm_layer(norm_cfg, out_channels),  # Eq. 4
            )
            self.paths.append(LevelPath(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), for any H and W of at least 1."""
        approximation = self.reduction(x)  # Eq. 1
        bands, sizes = [], [x.shape[-2:]]
        for level in range(1, self.levels[-1] + 1):  # Eq. 2
            mixed, approximation = self.token_mixer(approximation)
            if level in self.levels:
                bands.append(mixed)
                sizes.append(approximation.shape[-2:])
        y = None
        for path in reversed(self.paths):  # Eq. 3, 4
            sizes.pop()
            y = crop(path(bands.pop(), y), sizes[-1])
        return x + y  # Eq. 5


@MODELS.register_module()
class WaveMix(BaseModule):
    """WaveMix: a stem, then blocks that keep the resolution and mix tokens by wavelets.

    Section 3 and Figure 1 of the paper. Every H and W is allowed.

    Args:
        in_channels: Channels of the image.
        embed_dims: Channels C of the blocks, divisible by 4. Defaults to the arch's (192).
        depth: Number of blocks. Defaults to the arch's (16).
        levels: Levels of the transform: an int L for 1..L, a sequence to name the levels used.
            Defaults to the arch's (3).
        ff_channels: Output channels of each MLP. Defaults to embed_dims.
        mlp_ratio: Hidden channels of each MLP over embed_dims.
        dropout: Dropout probability inside the MLPs.
        stem: Config of the initial layer, 'wavemix_mm.PatchStem' (default) or
            'wavemix_mm.StridedStem'.
        token_mixer: Config of the transform. Defaults to the Haar wavelet.
        upsample: 'deconv', 'idwt', 'bilinear' or 'bicubic'.
        out_indices: Blocks that return their output, by index; -1 is the last.
        frozen_stages: 0 freezes the stem, k > 0 also the first k blocks; -1 freezes nothing.
        norm_eval: Keep the norms in evaluation mode while training.
        with_cp: Recompute each block in the backward pass instead of storing its activations.
        norm_cfg: Normalization layer.
        act_cfg: Activation layer.
        arch: Size of the network: 'C/D-lL' for C channels, D blocks and L levels, or 'lite-C/D'
            for one level, e.g. '192/16-l3', 'lite-128/8'. Explicit arguments override it.
        fast: Exchange layers for equal ones that take less time (``wavemix_mm/models/fast``).
            The names of the parameters stay.
        init_cfg: Initialization config; without one, PyTorch's defaults as in the paper.

    Raises:
        UserInputError: On an unreadable arch, an unknown wavelet, embed_dims not divisible by 4,
            levels that are empty, below 1 or repeated, or out_indices or frozen_stages beyond the
            depth.

    Example:
        >>> import torch
        >>> WaveMix(arch='lite-128/8')(torch.rand(1, 3, 64, 96))[-1].shape
        torch.Size([1, 128, 16, 24])
    """

    def __init__(
        self,
        in_channels: int = 3,
        embed_dims: int | None = None,
        depth: int | None = None,
        levels: int | Sequence[int] | None = None,
        ff_channels: int | None = None,
        mlp_ratio: float = 2,
        dropout: float = 0.5,
        stem: dict | None = None,
        token_mixer: dict | None = None,
        upsample: str = "deconv",
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        arch: str = "192/16-l3",
        norm_eval: bool = False,
        fast: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch_dims, arch_depth, arch_levels = parse_arch(arch)
        self.embed_dims = arch_dims if embed_dims is None else embed_dims
        self.depth = arch_depth if depth is None else depth
        self.out_indices = resolve_out_indices(out_indices, self.depth)
        if not -1 <= frozen_stages <= self.depth:
            raise UserInputError(
                f"frozen_stages={frozen_stages} is not between -1 and the depth {self.depth}."
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        check_embed_dims(self.embed_dims)
        layer_cfgs = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        stem = dict(stem or dict(type="wavemix_mm.PatchStem", patch_size=4))
        if type_name(stem) == "PatchStem":
            stem = layer_cfgs | stem
        self.stem = MODELS.build(dict(in_channels=in_channels, embed_dims=self.embed_dims) | stem)
        self.blocks = nn.ModuleList(
            WaveMixBlock(
                self.embed_dims,
                levels=arch_levels if levels is None else levels,
                ff_channels=ff_channels,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                token_mixer=token_mixer,
                upsample=upsample,
                **layer_cfgs,
            )
            for _ in range(self.depth)
        )
        if fast:
            speed_up(self)
        self.train()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each output map."""
        return (self.embed_dims,) * len(self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each output map."""
        return (self.stem.stride,) * len(self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, in_channels, H, W) -> for each of out_indices (N, C, H/s, W/s), s the stem's stride.

        The maps are in channels_last memory format, the fastest one for these layers.

        Raises:
            UserInputError: If there is no image in the batch, or no pixel in the images; if one
                patch of one image alone is given for training through batch norm.
        """
        check_not_empty(x)
        x = self.stem(static_sides(x).contiguous(memory_format=torch.channels_last))
        outs = []
        for i, block in enumerate(self.blocks):
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = recompute(block, x)
            else:
                x = block(x)
            if i in self.out_indices:
                outs.append(channels_last_gradient(x))
        return tuple(outs)

    def init_weights(self) -> None:
        """Initialize as `init_cfg` says; the log names the tensors that a checkpoint gave.

        Raises:
            UserInputError: If the checkpoint has no tensor that fits.
        """
        is_first = not self.is_init
        super().init_weights()
        if is_first:
            log_taken(self)

    def train(self, mode: bool = True) -> WaveMix:
        """Set the mode; frozen stages, and with `norm_eval` all norms, stay in evaluation mode."""
        super().train(mode)
        frozen = (self.stem, *self.blocks)[: self.frozen_stages + 1]
        for stage in frozen:
            stage.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def switch_to_deploy(self) -> None:
        """Fold layers that are linear in evaluation mode, in place (``wavemix_mm/models/fast``).

        Sets evaluation mode. The output stays equal to 1e-5 relative in float32. To load a state
        dict that was saved after the switch, switch the new network before.
        """
        self.eval()
        fold_stem(self.stem)
        for block in self.blocks:
            fold_block(block)
        # the weights in the format of the activations: else each call converts them
        self.to(memory_format=torch.channels_last)

    rename_old_keys = staticmethod(rename_old_keys)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self.rename_old_keys(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
