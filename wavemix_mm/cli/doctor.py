"""`wavemix-mm doctor [CONFIG]`: check the environment, or a config and its data."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    context: typer.Context,
    config: Annotated[
        str | None, typer.Argument(help="Config to check for contradictions.", metavar="[CONFIG]")
    ] = None,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE...", help="Override the config."),
    ] = None,
) -> int:
    """Print the installed versions, the problems, and the commands that fix them.

    With a config: check it and its data. The exit status is 1 if something is wrong.
    """
    from wavemix_mm import connect
    from wavemix_mm.host.doctor import diagnose, diagnose_config

    if config is None:
        return diagnose()
    connect(imported_only=True)  # raises an error if OpenMMLab is missing
    return diagnose_config(config, [*(cfg_options or ()), *context.args])
