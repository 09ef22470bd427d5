"""The web page: an image, the model's prediction, and an occlusion map, by Gradio."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image
from torch import nn

from wavemix_mm.analysis.occlusion import (
    OcclusionMap,
    changed_share,
    draw_map,
    occlusion_map,
    probability_drop,
)
from wavemix_mm.apis import predict
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.inference.outputs import overlay
from wavemix_mm.inference.predicting import image_reader
from wavemix_mm.inference.results import Result, SegmentationResult

EXAMPLES = Path(__file__).parent / "examples"
CELLS = 8  # rows and columns of an occlusion map
_CSS = """
footer { display: none !important }
.legend { width: 100% }
.legend, .legend tr, .legend td { border: 0 !important }
.legend td { padding: 2px 8px }
.legend i { display: inline-block; width: 1em; height: 1em; border: 1px solid #888 }
.legend td:last-child { text-align: right; font-variant-numeric: tabular-nums }
"""


class Seen(NamedTuple):
    """The image that a visitor of the page sees, and its prediction."""

    image: np.ndarray
    result: Result


def make_page(
    model: nn.Module, name: str, max_megabytes: float = 20, max_megapixels: float = 16
) -> gr.Blocks:
    """Build the page of a model; `launch_page` serves it.

    Args:
        model: A model of `wavemix_mm.apis.init_model`.
        name: Title of the page.
        max_megabytes: Largest file, in 1e6 bytes.
        max_megapixels: Largest image, in 1e6 pixels.

    Returns:
        The page.

    Raises:
        UserInputError: If the model is a detector.
    """
    if hasattr(model, "bbox_head") or hasattr(model, "roi_head"):
        raise UserInputError(
            f"the page does not support detectors such as {type(model).__name__}: use "
            "`wavemix-mm predict`, which draws boxes and masks."
        )
    is_segmentor = hasattr(model, "decode_head")
    read = image_reader(model)
    examples = _examples(model, is_segmentor)

    def show(file: str, opacity: float) -> tuple:
        # the drop area is emptied, so that it takes the next image; an older occlusion map goes
        rest = None, gr.update(visible=False, value=None)
        try:
            check_size(Path(file), max_megabytes, max_megapixels)
            image = read(file)
        except BadSampleError as error:
            # without the folder of this machine that the file is in
            reason = html.escape(str(error).replace(file, Path(file).name))
            return None, None, None, f"**This file cannot be used.** {reason}", *rest
        start = time.perf_counter()
        (result,) = predict(model, image)
        seconds = time.perf_counter() - start
        height, width = image.shape[:2]
        seen = Seen(image, result)
        text = f"{width} x {height} pixels, predicted in {seconds:.3f} s"
        return seen, *paint(seen, opacity), text, *rest

    def show_example(event: gr.SelectData, opacity: float) -> tuple:
        return show(str(examples[event.index]), opacity)

    def paint(seen: Seen | None, opacity: float) -> tuple:
        if seen is None:
            return None, None
        if isinstance(seen.result, SegmentationResult):
            picture = overlay(seen.image, seen.result, opacity)
            return picture[..., ::-1], legend(seen.result)
        return seen.image[..., ::-1] if seen.image.ndim == 3 else seen.image, seen.result.top(5)

    def explain(seen: Seen | None, progress: Callable = gr.Progress()) -> Any:  # noqa: B008
        if seen is None:
            raise gr.Error("Choose an image first.", title="There is no image")
        occlusion = explain_prediction(model, *seen, on_step=progress)
        largest = f"{occlusion.effects.max():.1%}"
        label = f"Occlusion map: yellow cells matter most; largest effect {largest}"
        colors = draw_map(seen.image, occlusion.pixels())[..., ::-1]
        return gr.update(value=colors, label=label, visible=True)

    with gr.Blocks(
        title=f"WaveMix: {name}", analytics_enabled=False, delete_cache=(600, 3600)
    ) as page:
        seen = gr.State(None)
        gr.Markdown(f"# {name}")
        with gr.Row():
            with gr.Column(scale=1):
                file = gr.File(
                    label="Drop an image, or click to choose one", elem_id="file", height=140
                )
                gallery = gr.Gallery(
                    [str(path) for path in examples],
                    label="Examples",
                    columns=2,
                    height=150,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
                opacity = gr.Slider(
                    0,
                    1,
                    0.5,
                    label="Opacity of the classes",
                    visible=is_segmentor,
                    elem_id="opacity",
                )
                details: Any
                if is_segmentor:
                    details = gr.HTML(elem_id="result")
                else:
                    details = gr.Label(num_top_classes=5, label="Classes", elem_id="result")
                message = gr.Markdown(elem_id="message")
            with gr.Column(scale=2):
                picture = gr.Image(
                    label="Prediction" if is_segmentor else "Image",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    format="png",
                    elem_id="picture",
                )
                button = gr.Button("Occlusion map", elem_id="explain")
                occlusion = gr.Image(
                    interactive=False, visible=False, buttons=["download"], elem_id="occlusion"
                )
        shown = [seen, picture, details, message, file, occlusion]
        file.upload(show, [file, opacity], shown)
        gallery.select(show_example, opacity, shown)
        opacity.change(paint, [seen, opacity], [picture, details], show_progress="hidden")
        button.click(explain, seen, occlusion)
    # one forward pass at a time: others would only share the cores
    page.queue(default_concurrency_limit=1)
    return page


def launch_page(
    page: gr.Blocks, host: str, port: int, max_megabytes: float = 20, wait: bool = True
) -> str:
    """Serve a page.

    Args:
        page: Result of `make_page`.
        host: Address of the page; only this machine reaches '127.0.0.1'.
        port: Port; 0 means any free port.
        max_megabytes: Largest file, in 1e6 bytes.
        wait: Block until Ctrl+C.

    Returns:
        The address of the page.

    Raises:
        UserInputError: If the port or the host cannot be used.
    """
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port or None,
            share=False,
            quiet=True,
            ssr_mode=False,
            prevent_thread_lock=True,
            max_file_size=int(max_megabytes * 1e6),
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            # the default fonts come from the server too, but these need no download at all
            theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_CSS,
        )
    except OSError as error:
        raise UserInputError(
            f"cannot serve at {host}:{port}: the port is taken or forbidden, or the host is no "
            "address of this machine; choose others with --port and --host."
        ) from error
    print(f"serving at {address} (Ctrl+C ends it)", flush=True)
    if wait:
        page.block_thread()
    return address


def explain_prediction(
    model: nn.Module, image: np.ndarray, result: Result, on_step: Callable[[float], object]
) -> OcclusionMap:
    """Cover the cells of an image (at most 8x8) one after the other.

    The effect of a cell is the drop of the predicted class's probability, or the share of the
    pixels outside the cell whose class changes.
    """
    height, width = image.shape[:2]
    cell = -(-height // CELLS), -(-width // CELLS)
    if isinstance(result, SegmentationResult):
        effect = changed_share(model, result.labels)
    else:
        effect = probability_drop(torch.from_numpy(result.probabilities), result.label)
    return occlusion_map(model, image, effect, cell, on_step=on_step)


def legend(result: SegmentationResult) -> str:
    """Return the classes of an image with colors and shares of pixels, as HTML."""
    colors = dict(zip(result.classes, result.palette, strict=False))
    rows = [
        f'<tr><td><i style="background: rgb{tuple(map(int, colors.get(name, (0, 0, 0))))}"></i> '
        f"{html.escape(name)}</td><td>{share:.1%}</td></tr>"
        for name, share in result.shares().items()
    ]
    return f'<table class="legend">{"".join(rows)}</table>'


def check_size(path: Path, max_megabytes: float, max_megapixels: float) -> None:
    """Raise BadSampleError for a file that is too large, before it is decoded."""
    megabytes = path.stat().st_size / 1e6
    if megabytes > max_megabytes:
        raise BadSampleError(f"file of {megabytes:.1f} MB: at most {max_megabytes:g} are allowed.")
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError):
        return  # the reader explains what is wrong with it
    if width * height > max_megapixels * 1e6:
        raise BadSampleError(
            f"image of {width} x {height} pixels: at most {max_megapixels:g} million are allowed."
        )


def _examples(model: nn.Module, is_segmentor: bool) -> list[Path]:
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    kind = "street" if is_segmentor else "digit" if first.in_channels == 1 else "vehicle"
    return sorted(EXAMPLES.glob(f"{kind}_*"))
