"""Decode heads for MMSegmentation; without it the package is empty."""

from importlib.util import find_spec

__all__: list[str] = []

if find_spec("mmseg") is not None:
    from wavemix_mm.models.decode_heads.transposed_conv_head import TransposedConvHead

    __all__ += ["TransposedConvHead"]
