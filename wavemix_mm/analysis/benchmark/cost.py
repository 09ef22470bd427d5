"""What does not depend on the machine: parameters and multiply-adds; and the machine's ceiling."""

from __future__ import annotations

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wavemix_mm.analysis.benchmark.timing import interleave

_MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}


def count_parameters(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(
    network: nn.Module, in_channels: int, size: tuple[int, int]
) -> tuple[int, tuple[int, ...]]:
    """Count the multiply-adds of one image, without computing anything.

    They are those of convolutions and matrix products (the transform by slices, norms and
    activations count nothing): `torch.utils.flop_counter` divided by two, as for `FLOPs` in
    configs/wavemix/metafile.yml.

    Args:
        network: (N, in_channels, H, W) -> a tensor.
        in_channels: Channels of the image.
        size: (H, W) of the image.

    Returns:
        Multiply-adds, and the shape of the output for one image.
    """
    mode = network.training
    network.eval()
    counter = FlopCounterMode(display=False)
    device = next(network.parameters()).device
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    # Attention as matrix products, which the counter knows, not as one operator.
    try:
        with (
            torch.no_grad(),
            FakeTensorMode(allow_non_fake_inputs=True),
            sdpa_kernel(SDPBackend.MATH),
            counter,
        ):
            out = network(torch.empty(1, in_channels, *size, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        network.train(mode)
    return counter.get_total_flops() // 2, tuple(out.shape)


def matmul_ceiling(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Measure the multiply-adds a second of a product of two square matrices.

    In float32 on a GPU by TF32 if convolutions use it.

    Args:
        device: 'cpu' or 'cuda'.
        dtype: Type of both and of the result.
        side: Of the matrices. Defaults to 2048 on a CPU, 8192 on a GPU.

    Returns:
        The rate of the fastest of some calls.
    """
    side = side or _MATMUL_SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    timings, failures = interleave(
        {"matmul": lambda: torch.matmul(a, b, out=out)}, device, rounds=5, round_seconds=0.2
    )
    torch.backends.cuda.matmul.allow_tf32 = allowed
    if failures:  # a processor without this type
        return float("nan")
    return side**3 / min(timings["matmul"].calls)
