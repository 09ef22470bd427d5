"""A network as it is run: in which type, memory format and mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.analysis.benchmark.models import Logits
from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MODES = ("eager", "compiled", "deploy", "deploy+compiled")


@dataclass(frozen=True)
class Candidate:
    """One way to run one model; everything that a fresh process needs to repeat it.

    Attributes:
        spec: The line that names the model.
        dtype: 'float32'; or 'bfloat16' or 'float16', by autocast.
        mode: 'eager', 'compiled', 'deploy' or 'deploy+compiled'.
        channels_last: Memory format of weights and images.
        device: 'cpu' or 'cuda'.
        cast_weights: For inference cast weights and images to dtype, instead of autocast.
        compile_backend: Of torch.compile.
        compile_mode: Of torch.compile.
    """

    spec: str
    dtype: str = "float32"
    mode: str = "eager"
    channels_last: bool = True
    device: str = "cpu"
    cast_weights: bool = False
    compile_backend: str = "inductor"
    compile_mode: str = "default"

    @property
    def is_deploy(self) -> bool:
        """Whether the network is folded, so that it cannot be trained."""
        return self.mode.startswith("deploy")

    @property
    def is_compiled(self) -> bool:
        """Whether torch.compile is used."""
        return self.mode.endswith("compiled")


def check_dtype(dtype: str, device: str) -> None:
    """Raise UserInputError if a device cannot run autocast in a type."""
    try:
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "float32"):
            layer = nn.Conv2d(4, 4, 1, device=device)
            layer(torch.rand(1, 4, 2, 2, device=device)).sum().backward()
    except RuntimeError as error:
        raise UserInputError(f"--dtype {dtype} does not work on {device}: {error}.") from error


def make_images(logits: Logits, batch: int, size: tuple[int, int]) -> Tensor:
    """Random images (batch, in_channels, H, W), standard normal."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, logits.in_channels, *size, generator=generator)


def make_inference(candidate: Candidate, logits: Logits, images: Tensor) -> Callable[[], Tensor]:
    """Prepare a network for inference, in place, and return the call to be measured.

    Args:
        candidate: How it is run.
        logits: The network, in float32 on the CPU.
        images: (N, C, H, W), in float32 on the CPU.

    Returns:
        A function without arguments that gives the logits.
    """
    network = _place(candidate, logits.eval())
    if candidate.is_deploy:
        switch_to_deploy(network)
    images = _place(candidate, images)
    dtype, uses_autocast = DTYPES[candidate.dtype], candidate.dtype != "float32"
    if candidate.cast_weights and uses_autocast and not logits.is_authors:
        network, images, uses_autocast = network.to(dtype), images.to(dtype), False
    run = _compiled(candidate, network)

    def infer() -> Tensor:
        with torch.inference_mode(), torch.autocast(candidate.device, dtype, uses_autocast):
            return run(images)

    return infer


def make_training(
    candidate: Candidate, logits: Logits, images: Tensor, classes: int, is_dense: bool
) -> Callable[[], None]:
    """Prepare a network for training, in place, and return one step: to be measured.

    A step is the forward pass, the cross-entropy with random labels, the backward pass and AdamW;
    weights are in float32, and half precision is by autocast.

    Args:
        candidate: How it is run; not in a deploy mode.
        logits: The network, in float32 on the CPU.
        images: (N, C, H, W), in float32 on the CPU.
        classes: Number of classes that it gives.
        is_dense: Whether it gives them for each pixel.
    """
    network = _place(candidate, logits.train())
    generator = torch.Generator().manual_seed(0)
    shape = (len(images), *images.shape[2:]) if is_dense else (len(images),)
    labels = torch.randint(classes, shape, generator=generator).to(candidate.device)
    images = _place(candidate, images)
    dtype, uses_autocast = DTYPES[candidate.dtype], candidate.dtype != "float32"
    run = _compiled(candidate, network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler(candidate.device, enabled=candidate.dtype == "float16")
    # The backward pass of the authors' transform computes with float32 filters, which is an error
    # beside gradients in half precision unless autocast reaches it too.
    is_inside = uses_autocast and logits.is_authors

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(candidate.device, dtype, uses_autocast):
            loss = scaler.scale(F.cross_entropy(run(images), labels))
            if is_inside:
                loss.backward()
        if not is_inside:
            loss.backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _place(candidate: Candidate, item: Any) -> Any:
    layout = torch.channels_last if candidate.channels_last else torch.contiguous_format
    if isinstance(item, Logits) and item.is_authors:
        networks.set_transforms(candidate.device, torch.float32)
    return item.to(device=candidate.device, memory_format=layout)


def _compiled(candidate: Candidate, network: Logits) -> Callable[[Tensor], Tensor]:
    if not candidate.is_compiled:
        return network
    # other backends than PyTorch's own take no mode
    mode = candidate.compile_mode if candidate.compile_backend == "inductor" else None
    return torch.compile(network, backend=candidate.compile_backend, mode=mode, dynamic=False)
