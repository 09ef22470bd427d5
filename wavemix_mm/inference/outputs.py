"""Write predictions: overlay, label map and JSON for each image, an overlay for each video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.results import Result, SegmentationResult
from wavemix_mm.inference.sources import Source

_SUFFIXES = ("_overlay.png", "_labels.png", ".json")
_VIDEO_SUFFIX = "_overlay.mp4"


def check_outputs(folder: Path, sources: Iterable[Source]) -> None:
    """Check that no output would replace an input or the output of another input.

    Raises:
        UserInputError: If one would.
    """
    inputs = {Path(os.path.realpath(source.path)) for source in sources}
    frames = {(folder / source.name).resolve() for source in sources if source.is_video}
    for source in sources:
        suffixes = [_VIDEO_SUFFIX] if source.is_video else _SUFFIXES
        written = {(folder / f"{source.name}{suffix}").resolve() for suffix in suffixes}
        lost = (written & inputs) | {file for file in inputs if frames & set(file.parents)}
        if lost:
            raise UserInputError(
                f"the output of {source.path} would replace the input {sorted(lost)[0]}: choose "
                "another folder for --out."
            )
        if not source.is_video and frames & set((folder / source.name).resolve().parents):
            raise UserInputError(
                f"the output of {source.path} would be among the frames of a video with the name "
                "of its folder: predict on the video alone."
            )


def overlay(image: np.ndarray, result: SegmentationResult, opacity: float = 0.5) -> np.ndarray:
    """Blend an image with the colors of its classes.

    Args:
        image: (H, W, 3) or (H, W), uint8, BGR.
        result: The prediction.
        opacity: Weight of the colors.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(result.palette)] = np.array(result.palette, np.uint8)[:, ::-1]
    background = image if image.ndim == 3 else np.dstack([image] * 3)
    return cv2.addWeighted(background, 1 - opacity, colors[result.labels], opacity, 0)


def write_result(folder: Path, name: str, origin: str, image: np.ndarray, result: Result) -> None:
    """Write ``<name>.json``, and for segmentation ``<name>_overlay.png``, ``<name>_labels.png``.

    The label map is a PNG of indices with the palette of the classes. The JSON file holds the
    share of the pixels of each class, or the five most probable classes.

    Args:
        folder: The output folder.
        name: Start of the names, relative to the folder.
        origin: The input, as the JSON file names it.
        image: (H, W, 3) or (H, W), uint8, BGR.
        result: The prediction.

    Raises:
        UserInputError: If a file cannot be written.
    """
    target = folder / name
    content: dict = {"image": origin, "width": image.shape[1], "height": image.shape[0]}
    if isinstance(result, SegmentationResult):
        content["shares"] = result.shares()
        content["colors"] = {
            name: "#{:02x}{:02x}{:02x}".format(*color)
            for name, color in zip(result.classes, result.palette, strict=False)
        }
    else:
        content["probabilities"] = result.top(5)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(result, SegmentationResult):
            encoded = cv2.imencode(".png", overlay(image, result))[1]
            Path(f"{target}_overlay.png").write_bytes(encoded.tobytes())
            labels = Image.fromarray(result.labels)
            labels.putpalette(np.array(result.palette, np.uint8).tobytes())
            labels.save(f"{target}_labels.png")
        Path(f"{target}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(
            f"--out: {error.filename or target} cannot be written: {error.strerror}."
        ) from error


class VideoOverlay:
    """A video of the overlays of a video's frames.

    Args:
        folder: The output folder.
        name: Start of the name, relative to the folder.
        fps: Frames a second.
    """

    def __init__(self, folder: Path, name: str, fps: float) -> None:
        self.path = folder / f"{name}{_VIDEO_SUFFIX}"
        self.fps = fps
        self._writer: cv2.VideoWriter | None = None

    def add(self, image: np.ndarray, result: SegmentationResult) -> None:
        """Append a frame; the first one decides the size.

        Raises:
            UserInputError: If OpenCV cannot write the video.
        """
        if self._writer is None:
            size = (image.shape[1], image.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(os.fspath(self.path), code, self.fps, size)
            if not self._writer.isOpened():
                raise UserInputError(f"--out: OpenCV cannot write the video {self.path}.")
        self._writer.write(overlay(image, result))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
