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
    """Build the parser; a verb is a sub-parser with `run` (arguments -> exit status) as default.

    A verb that uses OpenMMLab also sets `needs_stack=True`.
    """
    parser = argparse.ArgumentParser(prog="python -m wavemix_mm", description=__doc__)
    parser.add_argument("--version", action="version", version=f"wavemix_mm {__version__}")
    parser.set_defaults(needs_stack=False)
    verbs = parser.add_subparsers(title="verbs", metavar="<verb>", required=True)
    doctor = verbs.add_parser(
        "doctor",
        help="print the installed versions, and what does not fit with the command that mends it",
        description="Check the environment, or a config and its data; the exit status is 1 where "
        "something is wrong.",
    )
    doctor.add_argument("config", nargs="?", help="config file to look for contradictions in")
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
    connect()
    return diagnose_config(args.config, args.cfg_options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Returns:
        The exit status.
    """
    args = _make_parser().parse_args(argv)
    try:
        if args.needs_stack:
            connect()
        return args.run(args)
    except UserInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
