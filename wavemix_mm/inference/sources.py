"""The inputs of a command: files, folders, patterns, videos, and a list on the standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wavemix_mm.errors import BadSampleError, UserInputError

IMAGE_SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".jp2", ".pbm"),
    *(".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
_VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@dataclass(frozen=True)
class Source:
    """An input.

    Attributes:
        path: The file.
        name: Start of the names of its outputs, relative to the output folder; unique.
        is_video: Whether the file is a video.
    """

    path: Path
    name: str
    is_video: bool


def find_sources(words: Sequence[str], lines: Iterable[str]) -> list[Source]:
    """Return the inputs named by words, each file once.

    Args:
        words: Files; folders, with all images and videos inside; patterns such as ``*.jpg`` or
            ``**/*.png``; '-' for words on the standard input, one a line.
        lines: The lines of the standard input.

    Raises:
        UserInputError: If a folder holds no image and no video, a pattern matches no file, or
            nothing is named.
    """
    found: dict[str, Source] = {}
    names: set[str] = set()
    for word in words:
        inner = [line.strip() for line in lines] if word == "-" else [word]
        for path, name in (pair for item in inner if item for pair in _files(item)):
            if (key := os.path.realpath(path)) in found:
                continue
            number, unique = 1, name
            while unique.casefold() in names:  # also on file systems that ignore case
                number += 1
                unique = f"{name}_{number}"
            names.add(unique.casefold())
            found[key] = Source(path, unique, path.suffix.lower() in _VIDEOS)
    if not found:
        raise UserInputError("there is no input: name images, folders, patterns or videos.")
    return list(found.values())


def _files(word: str) -> Iterator[tuple[Path, str]]:
    """Yield the files that a word names, and names for their outputs."""
    if "\0" in word:
        raise UserInputError(f"input {word!r} holds a null byte: list one name a line.")
    path = Path(word).expanduser()
    # os.path, unlike Path, takes a name that is too long for a name of no file
    if os.path.isdir(path):
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in IMAGE_SUFFIXES + _VIDEOS and not file.is_dir()
        ]
        if not files:
            raise UserInputError(f"folder {word} holds no image and no video.")
        # folders inside stay folders among the outputs
        yield from ((file, file.relative_to(path).with_suffix("").as_posix()) for file in files)
    elif not os.path.exists(path) and glob.has_magic(word):
        matches = [Path(match) for match in sorted(glob.glob(os.fspath(path), recursive=True))]
        matches = [match for match in matches if match.is_file()]
        if not matches:
            raise UserInputError(f"pattern {word} matches no file.")
        yield from ((match, match.stem) for match in matches)
    else:
        yield path, path.stem


class Video:
    """The frames of a video file.

    Raises:
        BadSampleError: If OpenCV cannot read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise BadSampleError(f"video {path} does not exist.")
        self._capture = cv2.VideoCapture(os.fspath(path))
        if not self._capture.isOpened():
            raise BadSampleError(f"video {path} cannot be read by OpenCV.")
        # a damaged header may claim anything
        self.fps = min(max(self._capture.get(cv2.CAP_PROP_FPS), 0), 240) or 25.0
        self.length = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield each frame, (H, W, 3) uint8 in BGR.

        Raises:
            BadSampleError: If there is none.
        """
        is_read, frame = self._capture.read()
        if not is_read:
            raise BadSampleError(f"video {self.path} has no frame that OpenCV can read.")
        while is_read:
            yield frame
            is_read, frame = self._capture.read()
        self._capture.release()
