"""Write the model's weights from a training checkpoint as safetensors.

After a run with EMAHook these are the averaged weights, which mmengine stores in place of the raw
weights. The file depends only on the weights and a few entries of the meta: publishing a checkpoint
again writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a clone need not be installed

# Entries of the meta that are kept. Others, such as the config, hold paths of this machine.
KEPT = ("dataset_meta", "epoch", "iter", "seed")


def publish(checkpoint: str, out: Path, half: bool = False) -> str:
    """Write the file, then read it again and compare.

    Args:
        checkpoint: A checkpoint of mmengine, or a plain state dict.
        out: The file to write.
        half: Store the weights of layers as float16. Vectors, such as biases and the statistics of
            norms, stay as they are.

    Returns:
        A summary of the weights.

    Raises:
        UserInputError: If the checkpoint cannot be read without running code, or `out` cannot be
            written.
    """
    import torch

    from wavemix_mm.engine.checkpoints import loading
    from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
    from wavemix_mm.errors import UserInputError

    if out.suffix != ".safetensors":
        raise UserInputError(f"{out} must end in .safetensors.")
    content = loading.read_checkpoint(checkpoint)
    state = loading.get_state_dict(content, checkpoint)
    if half:
        state = {
            key: value.half() if value.is_floating_point() and value.ndim > 1 else value
            for key, value in state.items()
        }
    meta = content.get("meta") or {}
    write_safetensors(out, state, {key: meta[key] for key in KEPT if key in meta})
    written = loading.read_state_dict(str(out))
    torch.testing.assert_close(written, state, rtol=0, atol=0, equal_nan=True)
    kind = "averaged (EMA) weights" if "ema_state_dict" in content else "weights"
    numbers = sum(value.numel() for value in state.values())
    return f"{kind}: {len(state)} tensors, {numbers:,} numbers"


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", help="checkpoint of a training run, or a plain state dict")
    place = "file to write; the package contains those in configs/*/weights/"
    add("out", type=Path, help=place)
    add("--half", action="store_true", help="store the weights of layers as float16")
    trust = "load a checkpoint of someone you trust, even if it runs code"
    add("--trust-checkpoint", action="store_true", help=trust)
    args = parser.parse_args(argv)

    from wavemix_mm.engine.checkpoints.loading import allow_unsafe_pickle
    from wavemix_mm.engine.run.command_line import cli_errors

    with cli_errors(), allow_unsafe_pickle(args.trust_checkpoint):
        print(f"wrote {args.out}, {publish(args.checkpoint, args.out, args.half)}")
        data = args.out.read_bytes()
        out = args.out.resolve()
        shown = out.relative_to(ROOT).as_posix() if out.is_relative_to(ROOT) else args.out
        print(f"{len(data):,} bytes; the entries of its model in the metafile of its folder:")
        print(f"    Weights: {shown}")
        print(f"    SHA256: {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
