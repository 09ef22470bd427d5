"""Train a WaveMix-Lite on drawn street scenes, evaluate it and paint predictions (`make demo`)."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/wavemix/cityscapes_demo.py"


def parse_args(argv: list[str] | None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--data", default=ROOT / "data/synthetic_cityscapes", help="folder for the data set"
    )
    parser.add_argument(
        "--work-dir", default=ROOT / "work_dirs/cityscapes_demo", help="folder for the training"
    )
    parser.add_argument("--out", default=ROOT / "demo_output", help="folder for the pictures")
    parser.add_argument("--train", type=int, default=200, help="number of training images")
    parser.add_argument("--val", type=int, default=40, help="number of validation images")
    parser.add_argument("--epochs", type=int, help="default: the epochs of the config")
    args = parser.parse_args(argv)
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs {args.epochs} is not a positive number")
    for name in ("data", "work_dir", "out"):
        # the tools run in the root of the clone; a short path there is easier to read
        path = Path(getattr(args, name)).resolve()
        setattr(args, name, path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    return args


def run(step: str, *command: object) -> tuple[str, float]:
    """Run one tool and show its output; return the output and the seconds it took.

    Raises:
        SystemExit: With the tool's status if it fails.
    """
    words = [sys.executable, *map(str, command)]
    print(f"\n=== {step}\n$ {shlex.join(['python', *words[1:]])}", flush=True)
    start = time.monotonic()
    lines = []
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        # a negative status is the number of the signal that ended the tool
        sys.exit(process.returncode if process.returncode > 0 else 128 - process.returncode)
    return "".join(lines), time.monotonic() - start


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Run the demo."""
    args = parse_args(argv, prog)
    key = "dataloader.dataset.data_root"
    training_options = ["--cfg-options", f"train_{key}={args.data}", f"val_{key}={args.data}"]
    test_options = ["--cfg-options", f"test_{key}={args.data}"]
    if args.epochs is not None:
        keys = ("train_cfg.max_epochs", "train_cfg.val_interval")
        training_options += [f"{key}={args.epochs}" for key in keys]

    _, writing = run(
        "Write the dataset (nothing to do if it is there)",
        "tools/dataset_converters/synthetic_cityscapes.py", args.data,
        "--train", args.train, "--val", args.val,
    )  # fmt: skip
    if (ROOT / args.work_dir / "last_checkpoint").exists():
        print(f"\n{args.work_dir} holds an earlier training; the demo trains anew.")
    _, training = run(
        "Train", "tools/train.py", CONFIG, "--work-dir", args.work_dir,
        *training_options,
    )  # fmt: skip
    checkpoint = args.work_dir / (ROOT / args.work_dir / "last_checkpoint").read_text().strip()
    output, testing = run(
        "Evaluate", "tools/test.py", CONFIG, checkpoint, "--work-dir", args.work_dir / "test",
        *test_options,
    )  # fmt: skip
    _, drawing = run(
        "Draw predictions", "tools/visualization/qualitative.py", CONFIG, checkpoint,
        "--out", args.out, *test_options,
    )  # fmt: skip
    _, plotting = run(
        "Draw the loss curve", "tools/visualization/loss_curve.py", args.work_dir,
        "--out", args.out / "loss_curve.png",
    )  # fmt: skip
    miou = re.findall(r"mIoU: ([\d.]+)", output)[-1]
    print(
        f"\nmIoU {miou} % on {args.val} validation images of 19 classes\n"
        f"dataset {writing:.0f} s, training {training:.0f} s, evaluation {testing:.0f} s, "
        f"pictures {drawing + plotting:.0f} s\n"
        f"pictures:   {(ROOT / args.out).resolve()}/\n"
        f"checkpoint: {(ROOT / checkpoint).resolve()}"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
