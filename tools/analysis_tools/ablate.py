"""Train variants of a network under one budget and several seeds, beside a reference.

The first CONFIG is the reference. Without CONFIG, all of configs/wavemix/ablation are trained:
wavelets, token mixers, levels, stems and upsampling, with Haar as the reference. All networks are
trained with the first seed, then all with the next one. --out gets:

  results.csv   a row for each training
  summary.csv   a row for each network: mean, deviation, parameters, memory, time, ratios
  results.md    the same as a table, with the machine and the command
  results.png   a point for each network, with its spread

The files are written after each training, memory and time at the end. The same command goes on
where it was interrupted: a training that has ended is not repeated, another one goes on from its
last checkpoint. Trainings and costs are those of compare.py.

example:
  python tools/analysis_tools/ablate.py configs/wavemix/ablation/{haar,mixer_*}.py \\
      --epochs 10 --seeds 0 1 2 --size 32 --out work_dirs/mixers
"""

from __future__ import annotations

import argparse
from pathlib import Path

import compare
from arguments import ROOT, make_parser, run_tool

CONFIGS = ROOT / "configs" / "wavemix" / "ablation"


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="first the reference")
    compare.add_arguments(parser)
    parser.set_defaults(out=Path("work_dirs", "ablate"), seeds=[0, 1, 2])

    def run(args: argparse.Namespace) -> None:
        from comparing.report import Ablation

        if not args.configs:
            # haar.py is the first by its name, too
            args.configs = sorted(map(str, CONFIGS.glob("*.py")))
            args.size = args.size or (32, 32)  # of CIFAR-10
        compare.run(args, argv, Ablation)

    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
