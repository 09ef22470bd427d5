"""WaveMix for timm: `import wavemix_mm.timm`, then `timm.create_model("wavemix_192_16_l3")`.

With `features_only=True`, a model returns a pyramid of four strides. Libraries that build on timm's
encoders can use it, for example segmentation_models_pytorch by the name "tu-wavemix_192_16_l3".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from timm.layers import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F

from wavemix_mm.errors import UserInputError
from wavemix_mm.host.model_index import find_root
from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.necks.channel_mixing import ChannelMixing

NUM_MAPS = 4  # maps of features_only: the stem's stride times 1, 2, 4 and 8

_PLAIN = dict(mix_channels=None, dropout=0.0)
_SMALL = dict(stem=dict(type="wavemix_mm.StridedStem", stride=1), **_PLAIN)
# Arguments of `WaveMixModel` by name.
VARIANTS: dict[str, dict[str, Any]] = {
    # the paper's ImageNet models: patches of 4, and 1024 channels before the classifier
    "wavemix_128_8_l3": dict(arch="128/8-l3"),
    "wavemix_192_16_l3": dict(arch="192/16-l3"),
    "wavemix_240_12_l3": dict(arch="240/12-l3"),
    "wavemix_256_16_l4": dict(arch="256/16-l4"),
    "wavemix_lite_128_8": dict(arch="lite-128/8"),
    "wavemix_lite_192_16": dict(arch="lite-192/16"),
    # configs/wavemix/camvid_64-6.py
    "wavemix_64_6_l3": dict(arch="64/6-l3", **_PLAIN),
    # for images under 128x128: the stem keeps the resolution
    "wavemix_lite_128_7": dict(arch="lite-128/7", **_SMALL),
    "wavemix_lite_32_7": dict(arch="lite-32/7", upsample="bilinear", **_SMALL),
}


class WaveMixModel(nn.Module):
    """WaveMix as an image classifier with timm's interface.

    The names in a state dict are those of the ImageClassifier in configs/wavemix/imagenet.py, or in
    cifar10.py if `mix_channels` is None.

    Args:
        arch: Size of the network; see `WaveMix`.
        num_classes: Number of classes; 0 means no classifier and pooled features as output.
        in_chans: Channels of the images.
        global_pool: 'avg'; '' means no pooling and no classifier.
        drop_rate: Dropout probability before the classifier.
        mix_channels: Output channels of the `ChannelMixing` before the classifier; None for none.
        dropout: Dropout probability inside the blocks.
        kwargs: More arguments of `WaveMix`, such as `stem` or `with_cp`.
    """

    def __init__(
        self,
        arch: str,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        mix_channels: int | None = 1024,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.backbone = WaveMix(in_channels=in_chans, arch=arch, dropout=dropout, **kwargs)
        self.num_features = self.backbone.embed_dims
        self.head_hidden_size = mix_channels or self.num_features
        self.neck = ChannelMixing(self.num_features, mix_channels) if mix_channels else None
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes, global_pool)
        stride = self.backbone.stem.stride
        self.feature_info = [
            dict(num_chs=self.num_features, reduction=stride << i, module=f"map{i}")
            for i in range(NUM_MAPS)
        ]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one.

        Raises:
            UserInputError: If `global_pool` is neither 'avg' nor ''.
        """
        if global_pool is not None:
            if global_pool not in ("avg", ""):
                raise UserInputError(f"global_pool={global_pool!r} is neither 'avg' nor ''.")
            self.global_pool = global_pool
        self.num_classes = num_classes
        fc: nn.Module
        _, fc = create_classifier(self.head_hidden_size, num_classes, pool_type="avg")
        self.head = nn.Sequential(OrderedDict(fc=fc))

    def get_classifier(self) -> nn.Module:
        """Return the linear layer, or an Identity if there are no classes."""
        return self.head[0]

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, C, H/s, W/s), s being the stem's stride."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, num_classes), or the pooled features with `pre_logits`."""
        if not self.global_pool:
            return x
        x = self.neck((x,))[0] if self.neck is not None else x.mean((2, 3))
        x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return maps of a pyramid: the last block's map, and its means over 2x2, 4x4 and 8x8.

        All blocks of WaveMix have one resolution. A mean over 2x2 cells is the approximation band
        of the Haar transform, halved.

        Args:
            x: Images (N, in_chans, H, W).
            indices: Maps to return; an int n means the last n maps.
            norm: Not used, because there is no final norm.
            stop_early: Not used, because every map needs the last block.
            output_fmt: Only 'NCHW'.
            intermediates_only: Return the maps without the features.

        Returns:
            A list of maps (N, C, H/s/2**i, W/s/2**i), sides rounded up. Without
            `intermediates_only`, a tuple of the output of `forward_features` and this list.

        Raises:
            UserInputError: If `output_fmt` is not 'NCHW'.
        """
        if output_fmt != "NCHW":
            raise UserInputError(f"output_fmt={output_fmt!r}: WaveMix returns only 'NCHW'.")
        taken, last = feature_take_indices(NUM_MAPS, indices)
        features = self.forward_features(x)
        maps = [features]
        for _ in range(last):
            maps.append(F.avg_pool2d(maps[-1], 2, ceil_mode=True))
        maps = [maps[i] for i in taken]
        return maps if intermediates_only else (features, maps)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove the layers that `forward_intermediates` does not use; return the maps' indices."""
        if prune_head:
            self.neck = None
            self.head_hidden_size = self.num_features
            self.reset_classifier(0)
        return feature_take_indices(NUM_MAPS, indices)[0]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of storing its activations."""
        self.backbone.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that group the parameters by block, for layer-wise learning rates."""
        blocks = r"^backbone\.blocks\.(\d+)" if not coarse else r"^backbone\.blocks"
        return dict(stem=r"^backbone\.stem", blocks=[(blocks, None), (r"^neck", (99999,))])


def _fit(state_dict: dict[str, Tensor], model: WaveMixModel) -> dict[str, Tensor]:
    """Take what the model has, in the shapes that it has; a missing classifier stays random."""
    own = model.state_dict()
    known = {key: value for key, value in state_dict.items() if key in own}
    return {key: own[key] for key in own if not key.startswith("backbone.")} | known


def _describe_weights() -> dict[str, dict[str, Any]]:
    """Return timm's description of each variant, and of the weights that come with the package."""
    common: dict[str, Any] = dict(
        first_conv="backbone.stem.conv1",
        classifier="head.fc",
        paper_ids="arXiv:2205.14375",
        license="apache-2.0",
    )
    described: dict[str, dict[str, Any]] = {name: dict(common) for name in VARIANTS}
    root = find_root()
    if root is None:
        return described
    weights = root / "configs" / "wavemix" / "weights"
    camvid: dict[str, Any] = dict(num_classes=0, input_size=(3, 360, 480), crop_pct=1.0)
    camvid["file"] = str(weights / "camvid_64-6.safetensors")
    cifar10 = dict(
        num_classes=10,
        input_size=(3, 32, 32),
        crop_pct=1.0,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        file=str(weights / "cifar10_32-7.safetensors"),
    )
    described["wavemix_64_6_l3.camvid"] = described.pop("wavemix_64_6_l3") | camvid
    described["wavemix_lite_32_7.cifar10"] = described.pop("wavemix_lite_32_7") | cifar10
    return described


# `register_model` reads this name. A variant without weights is not in timm's list of pretrained
# models.
default_cfgs = generate_default_cfgs(_describe_weights())


def _register(name: str) -> None:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return build_model_with_cfg(
            WaveMixModel,
            name,
            pretrained,
            pretrained_filter_fn=_fit,
            feature_cfg=dict(out_indices=tuple(range(NUM_MAPS)), feature_cls="getter"),
            **(VARIANTS[name] | kwargs),
        )

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"Return WaveMix {VARIANTS[name]['arch']}."
    globals()[name] = register_model(create)


for _name in VARIANTS:
    _register(_name)
