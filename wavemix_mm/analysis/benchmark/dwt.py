"""One level of the Haar transform, forward and backward, in the packages that have it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wavemix_mm.analysis.benchmark.candidates import DTYPES
from wavemix_mm.analysis.benchmark.timing import Timing, interleave, speedup
from wavemix_mm.engine.messages import error_message
from wavemix_mm.models.layers.wavelet import haar_dwt2d

# The name that pip knows -> the module.
PACKAGES = {"pytorch-wavelets": "pytorch_wavelets", "ptwt": "ptwt", "PyWavelets": "pywt"}
REFERENCE = "pytorch-wavelets"
# Largest difference of a sub-band to its definition in float64, over the largest value.
TOLERANCES = {"float32": 1e-6, "bfloat16": 2e-2, "float16": 2e-3}
_COPY = "copy"
_CHECKED_SHAPE = (2, 3, 8, 12)


@dataclass
class DwtRow:
    """What was measured of one transform; None is what was not.

    Times are of the whole batch; "both" is the forward and the backward pass. `speedup` is over
    pytorch-wavelets: median and quartiles over the rounds. `copy_share` is the time that a copy of
    the input takes, which reads and writes as many bytes as the transform has to, over that of the
    transform; for both passes the time of two copies.
    """

    transform: str
    device: str
    dtype: str
    batch: int
    channels: int
    height: int
    width: int
    forward_ms: float | None = None
    forward_speedup: float | None = None
    forward_speedup_low: float | None = None
    forward_speedup_high: float | None = None
    forward_copy_share: float | None = None
    both_ms: float | None = None
    both_speedup: float | None = None
    both_speedup_low: float | None = None
    both_speedup_high: float | None = None
    both_copy_share: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Transform:
    """One implementation.

    Attributes:
        name: What reports call it.
        run: (N, C, H, W) -> its sub-bands, as it gives them.
        unpack: Those -> (N, C, 4, H/2, W/2), in the order LL, LH, HL, HH.
        memory_format: Of the input that suits it.
    """

    name: str
    run: Callable[[Tensor], Sequence[Tensor]]
    unpack: Callable[[Sequence[Tensor]], Tensor]
    memory_format: torch.memory_format = torch.contiguous_format


def missing_packages() -> list[str]:
    """Names of the packages that are compared with and not installed."""
    return [name for name, module in PACKAGES.items() if not importlib.util.find_spec(module)]


def measure_transforms(
    shape: tuple[int, int, int, int],
    dtype: str,
    device: str,
    rounds: int,
    round_seconds: float,
    with_compiled: bool = False,
) -> list[DwtRow]:
    """Time every transform that there is, in turns.

    Args:
        shape: (N, C, H, W), H and W even.
        dtype: 'float32', 'bfloat16' or 'float16'.
        device: 'cpu' or 'cuda'.
        rounds: Number of rounds.
        round_seconds: What one transform's part of a round should take.
        with_compiled: Ours by torch.compile too.

    Returns:
        A row for each; one that fails, or whose result is wrong, has a note and no times.
    """
    torch.manual_seed(0)
    x = torch.randn(shape, device=device).to(DTYPES[dtype])
    rows: dict[str, DwtRow] = {}
    functions: dict[str, dict[str, Callable[[], object]]] = {"forward": {}, "both": {}}
    for transform in transforms(device, dtype, with_compiled):
        row = rows[transform.name] = DwtRow(transform.name, device, dtype, *shape)
        own = x.contiguous(memory_format=transform.memory_format)
        # Packages of others may not know a type: anything may be raised.
        try:
            check(transform, device, dtype)
            functions["both"][transform.name] = _both(transform, own)
            functions["forward"][transform.name] = _forward(transform, own)
        except Exception as error:
            row.note = error_message(error)
    if device == "cpu" and dtype == "float32" and importlib.util.find_spec("pywt"):
        rows["PyWavelets"] = DwtRow("PyWavelets", device, dtype, *shape)
        functions["forward"]["PyWavelets"], functions["both"]["PyWavelets"] = _by_pywt(x)
    copy = torch.empty_like(x)
    for kind, group in functions.items():
        timings, failures = interleave(
            group | {_COPY: lambda: copy.copy_(x)}, device, rounds, round_seconds
        )
        for name, reason in failures.items():
            if name in rows:
                rows[name].note = reason
        for name in timings.keys() & rows.keys():
            _fill(rows[name], kind, name, timings)
    return list(rows.values())


def transforms(device: str, dtype: str, with_compiled: bool = False) -> Iterator[Transform]:
    """Every implementation by torch that is installed."""

    def ours(x: Tensor) -> Sequence[Tensor]:
        return (haar_dwt2d(x),)

    def unpack_ours(bands: Sequence[Tensor]) -> Tensor:
        channels = bands[0].shape[1] // 4
        details = bands[0][:, channels:].unflatten(1, (channels, 3))
        return torch.cat((bands[0][:, :channels].unsqueeze(2), details), dim=2)

    yield Transform("wavemix_mm", ours, unpack_ours, torch.channels_last)
    yield Transform("wavemix_mm, NCHW input", ours, unpack_ours)
    if with_compiled:
        compiled = torch.compile(haar_dwt2d, dynamic=False)
        yield Transform(
            "wavemix_mm, compiled", lambda x: (compiled(x),), unpack_ours, torch.channels_last
        )
    if importlib.util.find_spec("pytorch_wavelets"):
        module = importlib.import_module("pytorch_wavelets").DWTForward(J=1, wave="haar")
        module = module.to(device, DTYPES[dtype])

        def by_pytorch_wavelets(x: Tensor) -> Sequence[Tensor]:
            low, (high,) = module(x)
            return low, high

        yield Transform(
            REFERENCE,
            by_pytorch_wavelets,
            lambda bands: torch.cat((bands[0].unsqueeze(2), bands[1]), dim=2),
        )
    if importlib.util.find_spec("ptwt"):
        ptwt = importlib.import_module("ptwt")

        def by_ptwt(x: Tensor) -> Sequence[Tensor]:
            low, details = ptwt.wavedec2(x, "haar", level=1, mode="zero")
            return low, *details

        yield Transform("ptwt", by_ptwt, lambda bands: torch.stack(tuple(bands), dim=2))


def check(transform: Transform, device: str, dtype: str) -> None:
    """Compare a transform with the definition in float64.

    Raises:
        ValueError: If they differ by more than TOLERANCES.
    """
    x = torch.randn(_CHECKED_SHAPE, device=device).to(DTYPES[dtype])
    p, q, r, t = (x.double()[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    expected = torch.stack((p + q + r + t, p + q - r - t, p - q + r - t, p - q - r + t), 2) / 2
    x = x.contiguous(memory_format=transform.memory_format)
    difference = (transform.unpack(transform.run(x)).double() - expected).abs().max()
    # not "greater than": a NaN is no equality either
    if not difference <= TOLERANCES[dtype] * expected.abs().max():
        raise ValueError(f"the result differs from the Haar transform by {difference:.1e}")


def _forward(transform: Transform, x: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return transform.run(x)

    return run


def _both(transform: Transform, x: Tensor) -> Callable[[], object]:
    x = x.detach().requires_grad_()
    grads = [torch.randn_like(band) for band in transform.run(x)]
    return lambda: torch.autograd.grad(transform.run(x), x, grads)


def _by_pywt(x: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """PyWavelets has no gradients: its backward pass is the inverse, which equals the adjoint."""
    pywt, array = importlib.import_module("pywt"), x.numpy()
    return (
        lambda: pywt.dwt2(array, "haar", mode="zero"),
        lambda: pywt.idwt2(pywt.dwt2(array, "haar", mode="zero"), "haar", mode="zero"),
    )


def _fill(row: DwtRow, kind: str, name: str, timings: Mapping[str, Timing]) -> None:
    timing, copies = timings[name], 2 if kind == "both" else 1
    setattr(row, f"{kind}_ms", timing.median * 1e3)
    if _COPY in timings:
        setattr(row, f"{kind}_copy_share", copies * timings[_COPY].median / timing.median)
    if REFERENCE in timings:
        ratio = speedup(timings[REFERENCE], timing)
        setattr(row, f"{kind}_speedup", ratio.median)
        setattr(row, f"{kind}_speedup_low", ratio.low)
        setattr(row, f"{kind}_speedup_high", ratio.high)
