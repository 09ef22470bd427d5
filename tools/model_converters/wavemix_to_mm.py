"""Convert a checkpoint of the authors' package `wavemix` to a checkpoint of this project.

The tool detects the network from the tensors, and prints the nearest config and the options that
build the network. Before it writes the file, it checks that the weights load strictly. If the
authors' package is installed, it also checks that both networks compute the same outputs. It drops
the void class of Cityscapes models with 20 outputs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a clone need not be installed

import torch
from torch import Tensor, nn

from wavemix_mm import __version__
from wavemix_mm.apis import init_model
from wavemix_mm.engine.checkpoints.files import put_in_place, temporary_path
from wavemix_mm.engine.checkpoints.fit import check_state_dict
from wavemix_mm.engine.checkpoints.loading import TRUST_ADVICE, local_copy, read_state_dict
from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks
from wavemix_mm.official.convert import convert_official, is_wavelet_buffer
from wavemix_mm.official.variants import config_options, detect_variant, find_config

CITYSCAPES_OUTPUTS = 20  # in the authors' models: void, then the 19 classes
# For outputs in float64; the authors' package rounds the transform's coefficients to float32.
TOLERANCE = 1e-6


def convert(source: str, out: Path, config: str | None, digest: str | None) -> None:
    """Convert a checkpoint, verify the result, write it, and print a summary.

    Args:
        source: Path or http(s) address.
        out: File to write, .pth or .safetensors.
        config: Config that builds the model; by default the nearest one.
        digest: SHA-256 that the source must have.

    Raises:
        UserInputError: If the source cannot be read without running code, has another SHA-256 or
            is not a network of the authors; if the result does not fit the config or gives other
            outputs; if `out` cannot be written. No file is written then.
    """
    if out.suffix not in (".pth", ".safetensors"):
        raise UserInputError(f"{out} must end in .pth or .safetensors.")
    if out.is_dir():
        raise UserInputError(f"{out} is a folder.")
    if "://" not in source and out.exists() and out.samefile(os.path.expanduser(source)):
        raise UserInputError(f"{out} is the source; name another file to write.")
    state, digest = _read(source, digest)
    name = os.path.basename(source)
    try:
        converted = convert_official(state)
        variant = detect_variant(converted)
    except UserInputError as error:
        raise UserInputError(f"checkpoint {source} is not the authors': {error}") from error
    buffers = sum(map(is_wavelet_buffer, state))
    print(
        f"{name}: SHA-256 {digest}\n{variant}\nwavelet buffers dropped: {buffers}; unknown keys: 0"
    )

    options: dict[str, Any] = {}
    classes = variant.num_classes
    if config is None:
        config = _shown(ROOT / "configs" / "wavemix" / f"{find_config(variant, name)}.py")
        options = config_options(variant, load_config(config).model)
        if variant.is_segmentation and classes == CITYSCAPES_OUTPUTS:
            options.pop("model.decode_head.num_classes", None)
        if not variant.patch_size:
            print(
                f"strides of the stem: {variant.stride}, a guess: the tensors do not show them; "
                "use --config for another stem"
            )
    ours = init_model(config, None, "cpu", options)
    head = ours.decode_head if hasattr(ours, "decode_head") else ours.head
    is_void = variant.is_segmentation and classes == CITYSCAPES_OUTPUTS == head.num_classes + 1
    if is_void:
        converted = convert_official(state, drop_void=True)
        print(f"void, the first of {classes} outputs, dropped")
    check_state_dict(ours, converted, f"{source}, converted for config {config},")
    ours.load_state_dict(converted, strict=True)
    numbers = sum(parameter.numel() for parameter in ours.parameters())
    print(f"loads strictly: {len(converted)} tensors, {numbers:,} parameters")
    print(_compare(ours, state, variant.num_classes, source))

    meta: dict[str, Any] = dict(
        converted_from=dict(source=source if "://" in source else name, sha256=digest),
        converter=f"wavemix_mm {__version__}",
    )
    dataset = getattr(ours, "dataset_meta", None) or getattr(ours, "_dataset_meta", None) or {}
    names = dataset.get("classes") or ()
    if len(names) == head.num_classes:
        palette = dataset.get("palette")
        meta["dataset_meta"] = dict(classes=tuple(names))
        if palette is not None:
            meta["dataset_meta"]["palette"] = [list(map(int, color)) for color in palette]
    else:
        print(f"config {config} does not know the names of the {head.num_classes} classes")
    _write(out, converted, meta)
    print(f"wrote {out}, {out.stat().st_size:,} bytes, SHA-256 {_sha256(out)}\nconfig: {config}")
    extra = [f"{key}={value}" for key, value in options.items()]
    command = ["python", "tools/test.py", config, str(out)]
    print(shlex.join(command + (["--cfg-options", *extra] if extra else [])))


def _read(source: str, digest: str | None) -> tuple[dict[str, Tensor], str]:
    """Return the tensors by their keys, and the SHA-256 of the file."""
    file = local_copy(source)
    try:
        found = _sha256(file)
    except OSError as error:
        raise UserInputError(f"checkpoint {source} cannot be read: {error.strerror}.") from error
    if digest is not None and found != digest.lower():
        where = "" if "://" not in source else f" ({file}, fetched before or now)"
        raise UserInputError(
            f"checkpoint {source}{where} has the SHA-256 {found}, not {digest.lower()}."
        )
    try:
        return read_state_dict(source), found
    except UserInputError as error:
        # this tool has no such option: the authors' files do not need it
        raise UserInputError(str(error).replace(TRUST_ADVICE, "")) from error


def _compare(ours: nn.Module, state: dict[str, Tensor], classes: int, source: str) -> str:
    """Compare our outputs for a small random batch with those of the authors' network.

    Args:
        ours: Model with the converted weights; it is converted to float64.
        state: The authors' state dict.
        classes: Number of outputs of the authors' network.
        source: Name of the checkpoint in error messages.

    Returns:
        A message with the largest difference, or the reason why nothing was compared.

    Raises:
        UserInputError: If the outputs differ, or the authors' package has no such network.
    """
    try:
        networks.import_official()
    except (ImportError, UserInputError) as error:
        return f"outputs not compared: {str(error).rstrip('.')}"
    theirs = networks.build_counterpart(ours, source)
    if hasattr(ours, "decode_head"):
        head = theirs.expand if hasattr(theirs, "expand") else theirs.pool
        head[2] = torch.nn.Conv2d(head[2].in_channels, classes, 1)  # void too
    theirs.load_state_dict({k: v for k, v in state.items() if not is_wavelet_buffer(k)})
    backbone = ours.backbone
    side = 2 ** len(backbone.blocks[0].paths) * 2 * backbone.stem.stride
    images = torch.randn(
        2, 3, side, 2 * side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    networks.set_transforms("cpu", torch.float64)
    try:
        with torch.no_grad():
            expected = theirs.double().eval()(images)
            got = ours.double().eval()(images, mode="tensor")
    finally:
        networks.set_transforms("cpu", torch.float32)
    expected = expected[:, expected.shape[1] - got.shape[1] :]
    difference = ((expected - got).abs().max() / expected.abs().max()).item()
    if not difference <= TOLERANCE:  # NaN is not either
        raise UserInputError(
            f"checkpoint {source}, converted, gives other outputs than the authors' network: they "
            f"differ by {difference:.1e} relative to the largest output."
        )
    return f"outputs equal to the authors' network: largest relative difference {difference:.1e}"


def _write(out: Path, state: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write a temporary file beside `out`, then rename it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".safetensors":
            write_safetensors(temporary_path(out), state, meta)
        else:
            torch.save(dict(meta=meta, state_dict=state), temporary_path(out))
        put_in_place(out)
    except (OSError, RuntimeError, UserInputError) as error:  # RuntimeError: torch, full disk
        with contextlib.suppress(OSError):
            temporary_path(out).unlink()
        reason = getattr(error, "strerror", None) or error
        raise UserInputError(f"{out} cannot be written: {reason}.") from error


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _shown(file: Path) -> str:
    """Return the path relative to the current folder, if it lies below."""
    here = Path.cwd()
    return file.relative_to(here).as_posix() if file.is_relative_to(here) else str(file)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", help="the authors' checkpoint: a file, or the https address of one"
    )
    parser.add_argument("out", type=Path, help="file to write, .pth or .safetensors")
    parser.add_argument("--config", help="config that builds the model (default: the nearest)")
    parser.add_argument("--sha256", help="SHA-256 that the source must have")
    args = parser.parse_args(argv)
    with cli_errors():
        convert(args.source, args.out, args.config, args.sha256)


if __name__ == "__main__":
    main()
