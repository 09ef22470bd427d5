"""`wavemix-mm predict NAME|CONFIG [CKPT] INPUT...`: write predictions on images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wavemix_mm.cli.model_arguments import complete_model, split_model
from wavemix_mm.errors import UserInputError

_MAX_REPORTED = 10  # inputs whose predictions are printed too


def predict(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|CONFIG [CKPT] INPUT...",
            autocompletion=complete_model,
            show_default=False,
            help="A model that comes with weights (`wavemix-mm models --shipped`), or a config and "
            "its checkpoint; then images, folders, patterns, videos, or - for a list on stdin.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Output folder.")] = Path("predictions"),
    device: Annotated[
        str | None,
        typer.Option(help="E.g. cpu or cuda:1. Default: the accelerator if there is one."),
    ] = None,
    optimize: Annotated[
        bool, typer.Option("--optimize", help="Make the model fast (docs/gpu.md).")
    ] = False,
    batch: Annotated[
        int, typer.Option(min=1, help="Largest number of images in a forward pass.")
    ] = 1,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Detectors: lowest score of an object.")
    ] = 0.3,
    tta: Annotated[
        bool, typer.Option("--tta", help="Test-time augmentation; not for detectors.")
    ] = False,
    trust_checkpoint: Annotated[
        bool,
        typer.Option(
            "--trust-checkpoint",
            help="Load a checkpoint of someone you trust, even if it runs code.",
        ),
    ] = False,
    cfg_options: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Override one value of the config."),
    ] = None,
) -> int:
    """Predict on images, and write overlays, label maps and JSON.

    For an image X.jpg, segmentation writes X_overlay.png, X_labels.png (indices with a palette) and
    X.json (the share of each class). Detection writes X_overlay.png with boxes or masks, and X.json
    with the objects. Classification writes X.json with the five most probable classes. For a
    video, the folder X/ gets these files for each frame, and X_overlay.mp4 shows all overlays. The
    exit status is 3 if an input could not be read.
    """
    config, checkpoint, inputs = split_model(words)
    if not inputs:
        raise UserInputError("there is no input: name images, folders, patterns or videos.")
    from wavemix_mm.apis import init_model
    from wavemix_mm.engine.messages import building
    from wavemix_mm.engine.run.config import parse_options
    from wavemix_mm.inference.outputs import check_outputs
    from wavemix_mm.inference.results import Result
    from wavemix_mm.inference.runs import predict_files
    from wavemix_mm.inference.sources import find_sources

    sources = find_sources(inputs, sys.stdin)
    is_short = len(sources) <= _MAX_REPORTED and not any(source.is_video for source in sources)

    def report(name: str, result: Result) -> None:
        if is_short:
            print(f"{name}: {result.summary()}")

    check_outputs(out, sources)
    with building(f"the model of {words[0]} cannot be made"):
        model = init_model(
            config,
            checkpoint,
            device,
            parse_options(cfg_options),
            trust_checkpoint=trust_checkpoint,
            optimize=optimize,
        )
    with building("the prediction failed"):
        count, failures = predict_files(model, sources, out, batch, tta, report, threshold)
    print(f"wrote {count} prediction{'s' * (count != 1)} to {out}/")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 3 if failures else 0
