"""The command line of the package: `python -m wavemix_mm <verb>`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import connect
from .errors import UserInputError
from .host.doctor import diagnose, diagnose_config
from .version import __version__


def _make_parser() -> argparse.ArgumentParser:
    """Build the parser. A verb is a sub-parser with the default `run`: arguments -> exit status."""
    parser = argparse.ArgumentParser(prog="python -m wavemix_mm", description=__doc__)
    parser.add_argument("--version", action="version", version=f"wavemix_mm {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="<verb>", required=True)
    doctor = verbs.add_parser(
        "doctor",
        help="print the installed versions, the problems and the commands that fix them",
        description="Check the environment, or a config and its data. The exit status is 1 if "
        "something is wrong.",
    )
    doctor.add_argument("config", nargs="?", help="config file to check for contradictions")
    doctor.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="override the config",
    )
    doctor.set_defaults(run=_doctor)
    return parser


def _doctor(args: argparse.Namespace) -> int:
    if args.config is None:
        return diagnose()
    connect(imported_only=True)  # raises an error if OpenMMLab is missing
    return diagnose_config(args.config, args.cfg_options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The arguments after the program's name. None means the arguments of the process.

    Returns:
        The exit status.
    """
    args = _make_parser().parse_args(argv)
    try:
        return args.run(args)
    except UserInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
