"""The WaveMix backbone."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.initial_weights import log_taken
from wavemix_mm.models.layers.memory_format import channels_last_gradient
from wavemix_mm.models.layers.wavemix_block import WaveMixBlock, check_embed_dims
from wavemix_mm.registry import MODELS, type_name

# The models of the paper's tables: {levels: names as embed_dims/depth}.
_PAPER_MODELS = {
    1: "8/5 8/10 16/7 32/7 64/6 64/7 112/16 128/7 128/8 128/16 128/20 144/7 144/15 160/12 160/13 "
    "192/12 192/16 224/12 224/20 256/7 256/10 256/12 256/14 256/16 256/17 256/18 256/20 272/16 "
    "288/16 304/16 320/8 320/16 512/12",
    2: "224/12 240/12 244/12 256/16",
    3: "128/8 192/16 208/12 224/12 240/12 256/16",
    4: "240/12 256/15 256/16 256/17",
}
ARCHS = tuple(
    f"lite-{name}" if levels == 1 else f"{name}-l{levels}"
    for levels, names in _PAPER_MODELS.items()
    for name in names.split()
)
_ARCH_PATTERN = re.compile(r"(?P<lite>lite-)?(?P<dims>\d+)/(?P<depth>\d+)(-l(?P<levels>\d+))?")


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
        ff_channels: Channels that the blocks' MLPs give. Defaults to embed_dims.
        mlp_ratio: Hidden channels of the MLPs over embed_dims.
        dropout: Dropout probability inside the MLPs.
        stem: Config of the initial layer, 'wavemix_mm.PatchStem' (default) or
            'wavemix_mm.StridedStem'.
        token_mixer: Config of the transform. Defaults to the Haar wavelet.
        upsample: 'deconv', 'idwt', 'bilinear' or 'bicubic'.
        out_indices: Index or indices of the blocks whose output is given; -1 is the last.
        frozen_stages: 0 freezes the stem, k > 0 also the first k blocks; -1 freezes nothing.
        with_cp: Recompute each block in the backward pass instead of storing its activations.
        norm_cfg: Normalization layer.
        act_cfg: Activation layer.
        arch: A model of the paper, 'C/D-lL' or 'lite-C/D' (level 1), e.g. '192/16-l3',
            'lite-128/8'. Arguments given explicitly override it.
        init_cfg: Initialization config; without one, PyTorch's defaults as in the paper.

    Raises:
        UserInputError: On an unknown arch or wavelet, embed_dims not divisible by 4, levels that
            are empty, below 1 or repeated, out_indices or frozen_stages beyond the depth.

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
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        arch_dims, arch_depth, arch_levels = parse_arch(arch)
        self.embed_dims = arch_dims if embed_dims is None else embed_dims
        self.depth = arch_depth if depth is None else depth
        levels = arch_levels if levels is None else levels
        check_embed_dims(self.embed_dims)
        norm_cfg = norm_cfg or dict(type="BN")
        act_cfg = act_cfg or dict(type="GELU")
        self.out_indices = self._resolve_out_indices(out_indices)
        if not -1 <= frozen_stages <= self.depth:
            raise UserInputError(
                f"frozen_stages={frozen_stages} is not between -1 and the depth {self.depth}."
            )
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp

        stem = dict(stem or dict(type="wavemix_mm.PatchStem", patch_size=4))
        if type_name(stem) == "PatchStem":
            stem = dict(norm_cfg=norm_cfg, act_cfg=act_cfg) | stem
        self.stem = MODELS.build(dict(in_channels=in_channels, embed_dims=self.embed_dims) | stem)
        self.blocks = nn.ModuleList(
            WaveMixBlock(
                self.embed_dims,
                levels=levels,
                ff_channels=ff_channels,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                token_mixer=token_mixer,
                upsample=upsample,
                norm_cfg=norm_cfg,
                act_cfg=act_cfg,
            )
            for _ in range(self.depth)
        )
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, in_channels, H, W) -> for each of out_indices (N, C, H/s, W/s), s the stem's stride.

        The maps, and their gradients, are in channels_last memory format, in which convolutions and
        the transform are fastest.

        Raises:
            UserInputError: If there is no image in the batch, or no pixel in the images; if one
                patch of one image alone is given for training through batch norm.
        """
        if not torch.compiler.is_compiling() and not x.numel():
            raise UserInputError(
                f"the input of WaveMix is empty: it is (N, C, H, W) = {tuple(x.shape)}."
            )
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        outs = []
        for i, block in enumerate(self.blocks):
            if self.with_cp and self.training and torch.is_grad_enabled():
                x = checkpoint(
                    block, x, use_reentrant=False, context_fn=partial(_checkpoint_contexts, block)
                )
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
        cfgs = self.init_cfg if isinstance(self.init_cfg, list) else [self.init_cfg or {}]
        for cfg in cfgs if is_first else []:
            if type_name(cfg) in ("Pretrained", "PretrainedInit"):
                log_taken(self, cfg)

    def train(self, mode: bool = True) -> WaveMix:
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def switch_to_deploy(self) -> None:
        """Fold what is linear in evaluation mode, in place: see WaveMixBlock.switch_to_deploy.

        The stem's convolutions, which are one in any mode, are multiplied once and for all.

        Sets evaluation mode. The output stays equal to 1e-5 relative in float32. To load a state
        dict that was saved after the switch, switch the new network before.
        """
        self.eval()
        # a stem of another package may have nothing to fold
        if hasattr(self.stem, "switch_to_deploy"):
            self.stem.switch_to_deploy()
        for block in self.blocks:
            block.switch_to_deploy()
        # the weights in the format of the activations: else each call converts them
        self.to(memory_format=torch.channels_last)

    def _freeze(self) -> None:
        if self.frozen_stages >= 0:
            for stage in (self.stem, *self.blocks[: self.frozen_stages]):
                stage.eval()
                stage.requires_grad_(False)

    def _resolve_out_indices(self, out_indices: int | Sequence[int]) -> tuple[int, ...]:
        indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
        resolved = tuple(i + self.depth if i < 0 else i for i in indices)
        if not resolved or not all(0 <= i < self.depth for i in resolved):
            raise UserInputError(
                f"out_indices={out_indices!r} does not name blocks of a network of depth "
                f"{self.depth}."
            )
        if list(resolved) != sorted(set(resolved)):
            raise UserInputError(f"out_indices={out_indices!r} is not strictly ascending.")
        return resolved


def parse_arch(arch: str) -> tuple[int, int, int]:
    """Return embed_dims, depth and levels of one of the paper's models.

    Raises:
        UserInputError: If the paper has no such model, naming the nearest matches.
    """
    match = _ARCH_PATTERN.fullmatch(str(arch))
    if match:
        levels = int(match["levels"] or 1)
        name = f"{match['dims']}/{match['depth']}"
        if name in _PAPER_MODELS.get(levels, "").split() and not (match["lite"] and levels > 1):
            return int(match["dims"]), int(match["depth"]), levels
    near = difflib.get_close_matches(str(arch), ARCHS, n=3, cutoff=0.3)
    raise UserInputError(
        f"arch {arch!r} is not a model of the paper; did you mean {', '.join(near or ARCHS)}? "
        "Other sizes are given by embed_dims, depth and levels."
    )


def _checkpoint_contexts(block: nn.Module) -> tuple[AbstractContextManager, ...]:
    """Contexts of the forward pass and of its recomputation."""
    return contextlib.nullcontext(), _frozen_running_statistics(block)


@contextlib.contextmanager
def _frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep a recomputation from updating the running statistics of batch norm a second time."""
    norms = [
        m
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
