"""`wavemix-mm new CONFIG`: write a config for your own data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from wavemix_mm.errors import UserInputError


def new(
    config: Annotated[Path, typer.Argument(help="The file to write, e.g. mine.py.")],
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="segmentation, classification or detection.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of images; for classification, it holds one folder for each class. "
            "Folders train/ and val/ in it are the split.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Segmentation: folder of label maps (PNG). Detection: annotation file in COCO's "
            "format.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="Names of the classes; default: the folders or categories."
        ),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            metavar="V,W,...",
            help="Segmentation: value of each class in the labels, if it is not the index: numbers "
            "('0,255') or colors ('#000000,#ff0000').",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
) -> None:
    """Write a config for your own images.

    It asks for missing options and checks the files. The training will start from the weights of
    camvid_64-6.
    """
    task = _ask(task, "--task", "segmentation, classification or detection?")
    if task not in ("segmentation", "classification", "detection"):
        raise UserInputError(f"--task {task} is not segmentation, classification or detection.")
    if config.suffix != ".py":
        raise UserInputError(f"config {config} must end in .py.")
    folder = Path(_ask(images, "--images", "folder of the images?"))
    from wavemix_mm.host import own_data

    if task == "segmentation":
        label_folder = Path(_ask(labels, "--labels", "folder of the label maps?"))
        names = _ask(classes, "--classes", "classes, in the order of their indices (a,b,...)?")
        made = own_data.segmentation_config(
            config, folder, label_folder, _words(names), _values(values)
        )
    elif task == "detection":
        from wavemix_mm.host.own_boxes import detection_config

        file = Path(_ask(labels, "--labels", "COCO's annotation file?"))
        made = detection_config(config, folder, file, _words(classes) if classes else None)
    else:
        made = own_data.classification_config(config, folder, _words(classes) if classes else None)
    existing = [file for file in made.files if file.exists()]
    if existing and not force:
        raise UserInputError(f"{existing[0]} exists already; --force replaces it.")
    try:
        for file, text in made.files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{error.filename} cannot be written: {error.strerror}.") from error
    checkpoint = f"work_dirs/{config.stem}/epoch_{_max_epochs(config)}.pth"
    print(
        f"wrote {', '.join(map(str, made.files))}: {made.train} images to train on, {made.val} to "
        f"validate on. Next:\n\n"
        f"{shlex.join(['wavemix-mm', 'train', str(config)])}\n"
        f"{shlex.join(['wavemix-mm', 'test', str(config), checkpoint])}\n"
        f"{shlex.join(['wavemix-mm', 'predict', str(config), checkpoint])} IMAGE --out out"
    )


def _ask(given: Any, option: str, question: str) -> str:
    if given is not None:
        return str(given)
    try:
        return typer.prompt(question, prompt_suffix=" ")
    except typer.Abort as error:  # Ctrl-C, or the end of the input
        if isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise UserInputError(f"{option} is missing.") from None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _values(text: str | None) -> list | None:
    """Parse '0,255' or '#000000,#ff0000'."""
    if text is None:
        return None
    try:
        return [
            tuple(bytes.fromhex(word[1:])) if word.startswith("#") else int(word)
            for word in _words(text)
        ]
    except ValueError:
        raise UserInputError(
            f"--values {text}: write numbers ('0,255') or colors ('#000000,#ff0000')."
        ) from None


def _max_epochs(config: Path) -> int:
    from wavemix_mm.engine.run.config import load_config

    return load_config(str(config)).train_cfg.max_epochs
