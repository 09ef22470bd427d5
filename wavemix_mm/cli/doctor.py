"""`wavemix-mm doctor [CONFIG]`: check the environment, or a config and its data."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    context: typer.Context,
    config: Annotated[
        str | None, typer.Argument(help="Config to check, with its data.", metavar="CONFIG")
    ] = None,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE...", help="Override values of the config."),
    ] = None,
) -> int:
    """Check the installed packages, or a config and its data.

    Without a config: print the versions, the problems, and the commands that fix them. The exit
    status is 1 if something is wrong.
    """
    from wavemix_mm import connect
    from wavemix_mm.host.doctor import diagnose, diagnose_config

    if config is None:
        return diagnose()
    connect(imported_only=True)  # raises an error if OpenMMLab is missing
    return diagnose_config(config, [*(cfg_options or ()), *context.args])
