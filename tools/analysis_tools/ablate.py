"""Train variants of a network with one budget and several seeds, and compare with a reference.

The first CONFIG is the reference. Without CONFIG, the tool trains all configs of
configs/wavemix/ablation (wavelets, token mixers, levels, stems, upsampling) with Haar as the
reference. It trains all networks with the first seed, then all with the next seed. --out gets:

  results.csv   a row for each training
  summary.csv   a row for each network: mean, deviation, parameters, memory, time, ratios
  results.md    the same as a table, with the machine and the command
  results.png   a point for each network, with its spread

The files are written after each training, memory and time at the end. After an interruption, the
same command continues from the last checkpoint, and repeats no finished training. Trainings and
costs are those of compare.py.

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
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="configs, the reference first")
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
