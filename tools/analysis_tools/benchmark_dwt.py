"""Time the Haar transform, forward and backward, against pytorch-wavelets, ptwt and PyWavelets.

Write dwt.csv and dwt.md after each shape.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from arguments import add_timing_arguments, at_least, make_parser, parse_size
from measuring import report
from measuring.candidates import DTYPES
from measuring.timing import interleave
from output import cli_output
from torch import Tensor

from wavemix_mm.engine.messages import error_message
from wavemix_mm.models.layers.wavelet import haar_dwt2d

# The name that pip knows -> the module.
PACKAGES = {"pytorch-wavelets": "pytorch_wavelets", "ptwt": "ptwt", "PyWavelets": "pywt"}
REFERENCE = "pytorch-wavelets"
# Largest difference of a sub-band to its definition in float64, over the largest value.
TOLERANCES = {"float32": 1e-6, "bfloat16": 2e-2, "float16": 2e-3}
SIZES = [(56, 56), (128, 256), (256, 512), (512, 1024)]
COLUMNS: report.Columns = {
    "transform": lambda row: row["transform"],
    "dtype": lambda row: row["dtype"],
    "shape": lambda row: "{batch}x{channels}x{height}x{width}".format(**row),
    "forward, ms": lambda row: report.number(row["forward_ms"]),
    "times faster": lambda row: report.ratio(row, "forward_speedup"),
    "of a copy's rate": lambda row: f"{row['forward_copy_share']:.0%}",
    "forward and backward, ms": lambda row: report.number(row["both_ms"]),
    "both times faster": lambda row: report.ratio(row, "both_speedup"),
    "both of a copy's rate": lambda row: f"{row['both_copy_share']:.0%}",
    "note": lambda row: row["note"],
}


class Transform(NamedTuple):
    """One implementation in torch."""

    run: Callable[[Tensor], Sequence[Tensor]]  # (N, C, H, W) -> sub-bands in its own layout
    unpack: Callable[[Sequence[Tensor]], Tensor]  # -> (N, C, 4, H/2, W/2): LL, LH, HL, HH
    memory_format: torch.memory_format = torch.contiguous_format  # of the input, as suits it


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--channels",
        nargs="+",
        type=at_least(1),
        default=[48, 64, 128, 256],
        metavar="C",
        help="default: 48 64 128 256",
    )
    add("--sizes", nargs="+", type=parse_size, default=SIZES, metavar="HxW")
    add("--batch-size", type=at_least(1), default=1)
    add_timing_arguments(parser, round_seconds=0.1)
    help_of_dtype = "default: float32 and, on a CPU, bfloat16, on a GPU float16"
    add("--dtype", nargs="+", choices=DTYPES, help=help_of_dtype)
    add("--out", type=Path, default=Path("work_dirs", "benchmark_dwt"))
    add("--compiled", action="store_true", help="also time our transform compiled by torch.compile")
    args = parser.parse_args(argv)
    if any(side % 2 for size in args.sizes for side in size):
        parser.error("--sizes must be even, since the packages pad odd sides differently")
    return args


def find_packages() -> dict[str, ModuleType]:
    """Return the packages that are installed, by their names."""
    return {
        name: importlib.import_module(module)
        for name, module in PACKAGES.items()
        if importlib.util.find_spec(module)
    }


def find_transforms(device: str, dtype: str, with_compiled: bool = False) -> dict[str, Transform]:
    """Return every installed implementation in torch, by its name."""

    def by_ours(x: Tensor) -> Sequence[Tensor]:
        return (haar_dwt2d(x),)

    def unpack_ours(bands: Sequence[Tensor]) -> Tensor:
        low, details = bands[0].tensor_split([bands[0].shape[1] // 4], dim=1)
        return torch.cat((low.unsqueeze(2), details.unflatten(1, (-1, 3))), dim=2)

    ours = Transform(by_ours, unpack_ours, torch.channels_last)
    found = {"wavemix_mm": ours, "wavemix_mm, NCHW input": Transform(by_ours, unpack_ours)}
    if with_compiled:
        found["wavemix_mm, compiled"] = ours._replace(run=torch.compile(by_ours, dynamic=False))
    packages = find_packages()
    if REFERENCE in packages:
        module = packages[REFERENCE].DWTForward(J=1, wave="haar").to(device, DTYPES[dtype])

        def by_pytorch_wavelets(x: Tensor) -> Sequence[Tensor]:
            low, (high,) = module(x)
            return low.unsqueeze(2), high

        found[REFERENCE] = Transform(by_pytorch_wavelets, lambda bands: torch.cat(bands, dim=2))
    if "ptwt" in packages:

        def by_ptwt(x: Tensor) -> Sequence[Tensor]:
            low, details = packages["ptwt"].wavedec2(x, "haar", level=1, mode="zero")
            return low, *details

        found["ptwt"] = Transform(by_ptwt, lambda bands: torch.stack(bands, dim=2))
    return found


def check(transform: Transform, device: str, dtype: str) -> None:
    """Compare a transform with the definition in float64.

    Raises:
        ValueError: If they differ by more than TOLERANCES.
    """
    x = torch.randn(2, 3, 8, 12, device=device).to(DTYPES[dtype])
    p, q, r, t = (x.double()[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    expected = torch.stack((p + q + r + t, p + q - r - t, p - q + r - t, p - q - r + t), 2) / 2
    x = x.contiguous(memory_format=transform.memory_format)
    difference = (transform.unpack(transform.run(x)).double() - expected).abs().max()
    # not "greater than": a NaN is no equality either
    if not difference <= TOLERANCES[dtype] * expected.abs().max():
        raise ValueError(f"the result differs from the Haar transform by {difference:.1e}")


def measure(shape: tuple[int, ...], dtype: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every transform of (N, C, H, W) in turns, H and W even.

    Returns:
        A row for each transform; one that fails, or whose result is wrong, has a note and no times.
        `both` is the forward and the backward pass. `copy_share` is the time of a copy of the
        input, which moves as many bytes as the transform has to, over that of the transform; for
        both passes the time of two copies.
    """
    torch.manual_seed(0)
    x = torch.randn(shape, device=args.device).to(DTYPES[dtype])
    copy, notes = torch.empty_like(x), {}
    functions: dict[str, dict[str, Callable[[], object]]] = {"forward": {}, "both": {}}
    for name, transform in find_transforms(args.device, dtype, args.compiled).items():
        notes[name] = ""
        try:
            check(transform, args.device, dtype)
            own = x.contiguous(memory_format=transform.memory_format)
            functions["both"][name] = _both(transform.run, own)
            functions["forward"][name] = partial(torch.inference_mode()(transform.run), own)
        except Exception as error:  # a package may not know a type
            notes[name] = error_message(error)
    pywt = find_packages().get("PyWavelets")
    if args.device == "cpu" and dtype == "float32" and pywt:
        # PyWavelets has no gradients: its inverse, which equals the adjoint, is the backward pass.
        name, array, options = "PyWavelets", x.numpy(), dict(wavelet="haar", mode="zero")
        notes[name] = ""
        functions["forward"][name] = lambda: pywt.dwt2(array, **options)
        functions["both"][name] = lambda: pywt.idwt2(pywt.dwt2(array, **options), **options)
    sides = dict(zip(("batch", "channels", "height", "width"), shape, strict=True))
    rows = {name: dict(transform=name, device=args.device, dtype=dtype) | sides for name in notes}
    for copies, (kind, candidates) in enumerate(functions.items(), 1):
        candidates["copy"] = lambda: copy.copy_(x)
        timings = interleave(candidates, args.device, args.rounds, args.round_seconds)
        share = copies * timings.pop("copy").median
        reference = timings.get(REFERENCE)
        for name, timing in timings.items():
            if timing.error:
                notes[name] = timing.error
                continue
            rows[name][f"{kind}_ms"] = timing.median * 1e3
            rows[name][f"{kind}_copy_share"] = share / timing.median
            if reference and not reference.error:
                rows[name] |= timing.speedup(reference, f"{kind}_speedup")
                rows[name]["reference"] = REFERENCE
    return [row | (dict(note=notes[name]) if notes[name] else {}) for name, row in rows.items()]


def _both(run: Callable[[Tensor], Sequence[Tensor]], x: Tensor) -> Callable[[], object]:
    x = x.detach().requires_grad_()
    grads = [torch.randn_like(band) for band in run(x)]
    return lambda: torch.autograd.grad(run(x), x, grads)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with cli_output():
        args.device = report.choose_device(args.device, args.threads)
        dtypes = args.dtype or ["float32", "bfloat16" if args.device == "cpu" else "float16"]
        report.make_folder(args.out, "dwt.csv")
        facts = report.describe_machine(args.device, argv)
        if missing := ", ".join(PACKAGES.keys() - find_packages().keys()):
            facts["not installed"] = missing
        print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n", flush=True)
        rows: list[dict[str, Any]] = []
        points = list(itertools.product(args.sizes, args.channels, dtypes))
        with report.progress_bar() as bar:
            for (height, width), channels, dtype in bar.track(points):
                bar.update(bar.task_ids[0], description=f"{channels}x{height}x{width} {dtype}")
                rows += measure((args.batch_size, channels, height, width), dtype, args)
                report.write_results(rows, COLUMNS, facts, args.out / "dwt")
        print("\n".join(report.table(rows, COLUMNS)))
        print(f"\nwrote dwt.csv and dwt.md in {args.out}")


if __name__ == "__main__":
    main()
