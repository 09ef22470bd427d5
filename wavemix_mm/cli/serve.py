"""`wavemix-mm serve NAME|CONFIG [CKPT]`: a web page that shows a model's predictions."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from wavemix_mm.cli.model_arguments import complete_model, split_model
from wavemix_mm.errors import UserInputError


def serve(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|CONFIG [CKPT]",
            help="A model that comes with weights (`wavemix-mm models --shipped`), or a config and "
            "its checkpoint.",
            autocompletion=complete_model,
        ),
    ],
    host: Annotated[
        str, typer.Option(help="Address of the page; 0.0.0.0 lets other machines reach it.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 means any free port.")
    ] = 7860,
    device: Annotated[
        str | None, typer.Option(help="Default: the accelerator if there is one.")
    ] = None,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Make the model fast (docs/gpu.md).")
    ] = False,
    max_megabytes: Annotated[float, typer.Option(min=0, help="Largest file, in MB.")] = 20,
    max_megapixels: Annotated[
        float, typer.Option(min=0, help="Largest image, in millions of pixels.")
    ] = 16,
) -> None:
    """Serve a web page that shows predictions on dropped images.

    Nothing is sent elsewhere. Detectors are not supported: use `wavemix-mm predict`.
    """
    config, checkpoint, others = split_model(words)
    if others:
        raise UserInputError(f"serve: {' '.join(others)} is no checkpoint (.pth, .safetensors).")
    if find_spec("gradio") is None:
        raise UserInputError(
            "the package gradio is missing; install it by: pip install 'wavemix_mm[serve]'"
        )
    from wavemix_mm.apis import init_model
    from wavemix_mm.web.page import launch_page, make_page

    model = init_model(config, checkpoint, device, optimize=optimize)
    page = make_page(model, Path(config).stem, max_megabytes, max_megapixels)
    launch_page(page, host, port, max_megabytes)
