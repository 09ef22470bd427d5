"""The command line of the package: `wavemix-mm <verb>`, or `python -m wavemix_mm <verb>`."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from io import TextIOWrapper


def main() -> None:
    """Run one verb, and exit with its status."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal may lack letters of a file's name
        sys.stdout.reconfigure(errors="backslashreplace")
    if find_spec("typer") is not None:
        from wavemix_mm.cli import app

        app(prog_name="wavemix-mm")
    from wavemix_mm.host.doctor import diagnose

    # The doctor must run where packages are missing, because it names them.
    parser = argparse.ArgumentParser(
        prog="wavemix-mm", description="Without the package typer, nothing but the doctor runs."
    )
    parser.add_argument("verb", choices=["doctor"], help="print what is missing")
    parser.parse_args()
    sys.exit(diagnose())


if __name__ == "__main__":
    main()
