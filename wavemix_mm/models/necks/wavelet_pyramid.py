"""A feature pyramid of one map, by the wavelet transform."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer
from wavemix_mm.models.layers.tracing import static_sides
from wavemix_mm.models.layers.wavelet import haar_dwt2d, pad_to_even
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class WaveletPyramid(BaseModule):
    """Feature pyramid from the last map of a backbone such as WaveMix.

    ::

        x_0 = the map,  x_l = approximation of x_{l-1} / 2       C, half the sides of x_{l-1}
        z_l = conv1x1(sub-bands of x_{l-1} / 2), z_0 = conv1x1(x_0)
        p_l = z_l + p_{l+1} at twice its sides                   from the highest level down
        out = conv3x3(p_l)                                       one convolution for all levels

    The Haar approximation of a constant is twice the constant. The neck halves it, so all levels
    have the same mean. Before a level, an odd side repeats its last row or column. The levels share
    the 3x3 convolution, so the neck has fewer parameters than an FPN, which has a convolution for
    each level.

    Args:
        in_channels: Channels of the last map, or a sequence that ends with them, as for FPN.
        out_channels: Output channels.
        num_outs: Number of output maps.
        first_level: Level of the first map: 0 has the stride of the input, 1 twice that stride.
        norm_cfg: Normalization after each convolution, separate for each level; None for none.
        act_cfg: Activation after each normalization; None for none.
        init_cfg: Initialization config. Defaults to the one of mmdet's FPN.

    Raises:
        UserInputError: If ``num_outs`` is below 1 or ``first_level`` below 0.

    Example:
        >>> import torch
        >>> for x in WaveletPyramid(8, 4, num_outs=3)([torch.rand(1, 8, 9, 5)]):
        ...     print(tuple(x.shape))
        (1, 4, 9, 5)
        (1, 4, 5, 3)
        (1, 4, 3, 2)
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int = 256,
        num_outs: int = 5,
        first_level: int = 0,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        init_cfg = init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform")
        super().__init__(init_cfg)
        if num_outs < 1 or first_level < 0:
            raise UserInputError(
                f"WaveletPyramid: num_outs={num_outs} is below 1, or first_level={first_level} "
                "below 0."
            )
        channels = in_channels if isinstance(in_channels, int) else in_channels[-1]
        self.levels = range(first_level, first_level + num_outs)
        use_bias = norm_cfg is None

        def norm_and_act() -> nn.Sequential:
            norm = nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, out_channels)
            act = nn.Identity() if act_cfg is None else build_act_layer(act_cfg)
            return nn.Sequential(norm, act)

        self.lateral_convs = nn.ModuleList(
            nn.Conv2d(channels * (4 if level else 1), out_channels, 1, bias=use_bias)
            for level in self.levels
        )
        self.lateral_norms = nn.ModuleList(norm_and_act() for _ in self.levels)
        self.out_conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=use_bias)
        self.out_norms = nn.ModuleList(norm_and_act() for _ in self.levels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Compute the pyramid of the last map.

        (..., (N, C, H, W)) -> num_outs maps (N, out_channels, H/2**l, W/2**l), each side rounded
        up, for the levels l from first_level on.
        """
        x = bands = static_sides(inputs[-1])
        channels = x.shape[1]
        maps: list[Tensor] = []
        for level in range(self.levels.stop):
            if level:
                bands = haar_dwt2d(pad_to_even(x, mode="replicate")) * 0.5
                x = bands[:, :channels]
            if level in self.levels:
                i = len(maps)
                maps.append(self.lateral_norms[i](self.lateral_convs[i](bands)))
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], maps[i].shape[-2:])
        return tuple(norm(self.out_conv(x)) for norm, x in zip(self.out_norms, maps, strict=True))
