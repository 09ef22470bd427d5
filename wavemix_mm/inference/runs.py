"""Predict on many files, with a progress bar. A bad file does not stop the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from wavemix_mm.errors import BadSampleError
from wavemix_mm.inference.outputs import VideoOverlay, write_result
from wavemix_mm.inference.predicting import image_reader, predict_each
from wavemix_mm.inference.results import ClassificationResult, DetectionResult, Result
from wavemix_mm.inference.sources import Source, Video

# the pixels of an image, its name in messages, and the function that writes its prediction
_Task = tuple[np.ndarray, str, Callable[[np.ndarray, Result], None]]


def predict_files(
    model: nn.Module,
    sources: Sequence[Source],
    folder: Path,
    batch_size: int,
    tta: bool,
    report: Callable[[str, Result], None],
    threshold: float = 0.0,
) -> tuple[int, list[str]]:
    """Predict on files, and write each prediction by `write_result`.

    Args:
        model: A model as for `wavemix_mm.apis.predict`.
        sources: The files.
        folder: The output folder, which is created.
        batch_size: Largest number of images in a forward pass.
        tta: Whether to use test-time augmentation.
        report: Function that is called with the name of each image and its prediction.
        threshold: Lowest score of a detector's objects.

    Returns:
        The number of images and frames that were written, and a message for each file that could
        not be read.

    Raises:
        UserInputError: If an output cannot be written.
    """
    failures: list[str] = []
    waiting: deque[_Task] = deque()
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    count = 0
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ExitStack() as videos,
    ):

        def pixels() -> Iterator[np.ndarray]:
            for task in _tasks(model, sources, folder, failures, progress, videos):
                waiting.append(task)
                yield task[0]

        for result in predict_each(model, pixels(), batch_size, tta):
            image, origin, write = waiting.popleft()
            if isinstance(result, DetectionResult):
                result = result.above(threshold)
            write(image, result)
            report(origin, result)
            count += 1
    return count, failures


def _tasks(
    model: nn.Module,
    sources: Sequence[Source],
    folder: Path,
    failures: list[str],
    progress: Progress,
    videos: ExitStack,
) -> Iterator[_Task]:
    """Read the sources one after the other, and note those that cannot be read."""
    read = image_reader(model)
    for source in progress.track(sources, description="files"):
        try:
            if source.is_video:
                yield from _frames(source, folder, progress, videos)
            else:
                origin = str(source.path)
                yield read(source.path), origin, _writer(folder, source.name, origin)
        except BadSampleError as error:
            failures.append(str(error))


def _frames(source: Source, folder: Path, progress: Progress, videos: ExitStack) -> Iterator[_Task]:
    video = Video(source.path)
    painted = VideoOverlay(folder, source.name, video.fps)
    videos.callback(painted.close)  # after its last frame, which a batch may hold back
    frames = progress.track(video, total=video.length or None, description=source.path.name)
    for number, frame in enumerate(frames):
        origin = f"{source.path}, frame {number}"
        yield frame, origin, _writer(folder, f"{source.name}/{number:06}", origin, painted)


def _writer(
    folder: Path, name: str, origin: str, painted: VideoOverlay | None = None
) -> Callable[[np.ndarray, Result], None]:
    def write(image: np.ndarray, result: Result) -> None:
        write_result(folder, name, origin, image, result)
        if painted is not None and not isinstance(result, ClassificationResult):
            painted.add(image, result)

    return write
