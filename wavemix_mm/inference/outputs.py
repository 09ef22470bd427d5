"""Write predictions: a picture, a label map and JSON for each image, a picture for each video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.drawing import overlay
from wavemix_mm.inference.results import (
    ClassificationResult,
    DetectionResult,
    Result,
    SegmentationResult,
)
from wavemix_mm.inference.sources import Source

_SUFFIXES = ("_overlay.png", "_labels.png", ".json")
_VIDEO_SUFFIX = "_overlay.mp4"


def check_outputs(folder: Path, sources: Iterable[Source]) -> None:
    """Check that no output would replace an input or the output of another input.

    Raises:
        UserInputError: If an output would do so.
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


def write_result(folder: Path, name: str, origin: str, image: np.ndarray, result: Result) -> None:
    """Write ``<name>.json``, and except for classification ``<name>_overlay.png``.

    A segmentation also gets the label map ``<name>_labels.png``, a PNG of indices with the palette
    of the classes. The JSON file holds the share of each class, the five most probable classes, or
    the objects. An object's mask is a run-length code for `pycocotools.mask.decode`.

    Args:
        folder: The output folder.
        name: Start of the names, relative to the folder.
        origin: Name of the input in the JSON file.
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
    elif isinstance(result, DetectionResult):
        content["objects"] = list(_objects(result))
    else:
        content["probabilities"] = result.top(5)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(result, ClassificationResult):
            encoded = cv2.imencode(".png", overlay(image, result))[1]
            Path(f"{target}_overlay.png").write_bytes(encoded.tobytes())
        if isinstance(result, SegmentationResult):
            labels = Image.fromarray(result.labels)
            labels.putpalette(np.array(result.palette, np.uint8).tobytes())
            labels.save(f"{target}_labels.png")
        Path(f"{target}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(
            f"--out: {error.filename or target} cannot be written: {error.strerror}."
        ) from error


def _objects(result: DetectionResult) -> Iterator[dict]:
    for i, label in enumerate(result.labels):
        found = {
            "class": result.classes[label],
            "score": round(float(result.scores[i]), 4),
            "box": [round(float(value), 2) for value in result.boxes[i]],
        }
        if result.masks is not None:
            from pycocotools import mask

            code = mask.encode(np.asfortranarray(result.masks[i]))
            found["mask"] = {"size": code["size"], "counts": code["counts"].decode()}
        yield found


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

    def add(self, image: np.ndarray, result: SegmentationResult | DetectionResult) -> None:
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
