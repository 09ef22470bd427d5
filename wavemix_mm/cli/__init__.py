"""The command `wavemix-mm`, which is also `python -m wavemix_mm`.

Each verb is a function in a module of the same name here, or in `tools`. `--help` imports all these
modules, so they import torch and OpenMMLab only inside of the function.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.version import __version__

__all__ = ["app"]

# A tool's verb passes its arguments on, --help among them.
_PASS_ON = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}
# The verbs in the order of --help, and how their arguments are parsed.
VERBS: dict[str, dict[str, Any]] = {
    "doctor": {"allow_extra_args": True},  # --cfg-options takes several words
    "demo": _PASS_ON,
    "train": _PASS_ON,
    "test": _PASS_ON,
    "predict": {},
    "models": {},
    "new": {},
    "export": _PASS_ON,
    "serve": {},
}


class _Verbs(TyperGroup):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a verb, and exit with the status that it returns. An error is one message."""
        with cli_errors():
            try:
                status = super().main(*args, **(kwargs | dict(standalone_mode=False)))
            except typer.Abort:
                sys.exit(130)
            # typer's errors have no public common class
            except Exception as error:
                if not hasattr(error, "format_message"):
                    raise
                context = getattr(error, "ctx", None)
                hint = f" See `{context.command_path} --help`." if context else ""
                print(f"error: {error.format_message()}{hint}", file=sys.stderr)
                sys.exit(getattr(error, "exit_code", 1))
        sys.exit(status)


app = typer.Typer(
    name="wavemix-mm",
    cls=_Verbs,
    help="Train, test and use WaveMix models for segmentation, classification and detection.",
    epilog="WAVEMIX_MM_TRACEBACK=1 in the environment shows the traceback of an error.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"wavemix_mm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Parse the options before the verb."""


for _verb, _settings in VERBS.items():
    _module = import_module(f"{__name__}.{'tools' if _settings is _PASS_ON else _verb}")
    app.command(context_settings=_settings)(getattr(_module, _verb))
