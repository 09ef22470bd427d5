"""The WaveMix block (Eq. 1-5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.deploy import FoldedHaarConv, fold_norm, haar_approximation
from wavemix_mm.models.layers.dropout import Dropout
from wavemix_mm.models.layers.dwt import HAAR, DWT2d, pad_to_even
from wavemix_mm.models.layers.memory_format import channels_last_gradient
from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer
from wavemix_mm.models.layers.upsample import build_upsample, linear_part
from wavemix_mm.registry import MODELS


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
        ff_channels: Channels that the MLP gives. Defaults to embed_dims (appendix A).
        mlp_ratio: Hidden channels of the MLP over embed_dims.
        dropout: Dropout probability inside the MLP.
        token_mixer: Config of what stands for the transform; see ``token_mixers.py``.
        upsample: 'deconv', 'idwt', 'bilinear' or 'bicubic'; see ``upsample.py``.
        norm_cfg: Normalization layer after the upsampling.
        act_cfg: Activation layer inside the MLP.

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
        ff_channels = ff_channels or embed_dims
        self.reduction = nn.Conv2d(embed_dims, embed_dims // 4, kernel_size=1)
        self.token_mixer = MODELS.build(
            token_mixer or dict(type="wavemix_mm.DWTMixer", wavelet="haar")
        )
        self.haar_is_folded = False
        self.paths = nn.ModuleList()
        for i, level in enumerate(self.levels):
            target = self.levels[i - 1] if i > 0 else 0
            is_top = level == self.levels[-1]
            out_channels = embed_dims // 2 if i > 0 else embed_dims
            hidden_channels = int(embed_dims * mlp_ratio)
            self.paths.append(
                nn.Sequential(
                    nn.Conv2d(embed_dims if is_top else embed_dims * 3 // 2, hidden_channels, 1),
                    build_act_layer(act_cfg or dict(type="GELU")),
                    Dropout(dropout),
                    nn.Conv2d(hidden_channels, ff_channels, 1),
                    build_upsample(
                        upsample,
                        ff_channels,
                        out_channels,
                        stride=2 ** (level - target),
                        wavelet=getattr(self.token_mixer, "wavelet", "haar"),
                    ),
                    build_norm_layer(norm_cfg or dict(type="BN"), out_channels),
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W), for any H and W of at least 1."""
        approximation = self.reduction(x)
        channels = approximation.shape[1]
        features, sizes = [], [x.shape[-2:]]
        for level in range(1, self.levels[-1] + 1):
            if self.haar_is_folded:
                mixed = pad_to_even(approximation)
                approximation = haar_approximation(mixed)
            else:
                mixed = self.token_mixer(approximation)
                approximation = mixed[:, :channels]
            if level in self.levels:
                features.append(mixed)
                sizes.append(approximation.shape[-2:])
        out = None
        for path, feature, size in zip(
            reversed(self.paths), reversed(features), reversed(sizes[:-1]), strict=True
        ):
            if self.haar_is_folded:
                out = path[1:](path[0](feature, out))
            elif out is None:
                out = path(feature)
            else:
                out = path(torch.cat((feature, channels_last_gradient(out)), dim=1))
            out = _crop(out, size)
        # In place where it may be: a fresh tensor of this size costs as much as the addition.
        return out.add_(x) if self.haar_is_folded else x + out

    def switch_to_deploy(self) -> None:
        """Fold, in place, each norm into the upsampling and Haar into the MLP's first layer.

        In evaluation mode the output stays equal up to rounding; the block cannot be trained any
        more. What cannot be folded (another wavelet, an upsampling without weights) stays.
        """
        # Not by the attribute `wavelet` alone, which another mixer may have too.
        is_haar = isinstance(self.token_mixer, DWT2d) and self.token_mixer.wavelet in HAAR
        fold_haar = is_haar and not self.haar_is_folded
        for path in self.paths:
            if fold_norm(linear_part(path[4]), path[5]):
                path[5] = nn.Identity()
            if fold_haar:
                path[0] = FoldedHaarConv(path[0], bands=self.reduction.out_channels * 4)
        self.haar_is_folded |= fold_haar


def normalize_levels(levels: int | Sequence[int]) -> tuple[int, ...]:
    """Turn the ``levels`` argument into the ascending tuple of levels used.

    Raises:
        UserInputError: If it is neither an int nor a sequence of ints, is empty, or names a level
            below 1 or one level twice.
    """
    if isinstance(levels, int):
        used = tuple(range(1, levels + 1))
    else:
        named = tuple(levels) if isinstance(levels, Sequence) else ()
        used = tuple(sorted(named)) if all(isinstance(level, int) for level in named) else ()
    if not used or used[0] < 1 or len(set(used)) < len(used):
        raise UserInputError(
            f"levels={levels!r} does not name at least one level, each an integer of 1 or more "
            "and none twice."
        )
    return used


def check_embed_dims(embed_dims: int) -> None:
    """Raise UserInputError unless ``embed_dims`` is a positive multiple of 4."""
    if embed_dims <= 0 or embed_dims % 4:
        raise UserInputError(
            f"embed_dims={embed_dims} is not a positive multiple of 4, as Eq. 1 needs (C/4)."
        )


def _crop(x: Tensor, size: torch.Size) -> Tensor:
    """Remove what an odd side was padded by before the transform."""
    return x[..., : size[0], : size[1]]
