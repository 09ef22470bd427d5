"""One way to run a network: its type, memory format and mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from measuring.models import Logits, build_model
from measuring.timing import interleave
from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import convert_official, networks

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Candidate:
    """A model that has been built once, and one way to run it."""

    words: tuple[str, ...]  # arguments of build_model
    name: str
    size: tuple[int, int]  # (H, W) of the images
    parameters: int
    depth: int | None  # number of blocks, if its backbone has a depth
    can_deploy: bool  # whether switch_to_deploy changes something
    is_authors: bool  # whether it is the authors' own code
    dtype: str = "float32"  # bfloat16 and float16 are by autocast
    mode: str = "eager"  # or 'compiled', 'deploy', 'deploy+compiled'
    device: str = "cpu"  # or 'cuda'
    cast_weights: bool = False  # in inference weights and images of dtype, instead of autocast
    compile_mode: str = "default"  # of torch.compile

    @property
    def is_deploy(self) -> bool:
        """Whether the network is folded, so that it cannot be trained."""
        return self.mode.startswith("deploy")

    @property
    def casts(self) -> bool:
        """Whether inference runs with weights in half precision; the authors' code cannot."""
        return self.cast_weights and self.dtype != "float32" and not self.is_authors

    @property
    def runs_as(self) -> str:
        """How the model is run."""
        weights, layout = " weights" * self.casts, ", NCHW" * self.is_authors
        return f"{self.dtype}{weights}, {self.mode}{layout}"

    @property
    def label(self) -> str:
        """The model and how it is run."""
        return f"{self.name}, {self.runs_as}"

    def describe(self) -> dict[str, Any]:
        """Return the start of a row of results."""
        row = dict(model=self.name, runs_as=self.runs_as, device=self.device, dtype=self.dtype)
        row |= dict(mode=self.mode, cast_weights=self.casts)
        row |= dict(height=self.size[0], width=self.size[1], parameters=self.parameters)
        return row if self.depth is None else row | dict(depth=self.depth)

    def build(self, weights: Mapping[str, Tensor] | None = None) -> Logits:
        """Build the network in float32 on the CPU, in evaluation mode, folded in a deploy mode.

        `weights` is a state dict of the authors' network of the same architecture, to be loaded.
        """
        torch.manual_seed(0)
        logits = build_model(self.words).eval()
        if weights is not None:
            state = weights if self.is_authors else convert_official(weights)
            logits.network.load_state_dict(state)
        if self.is_deploy:
            switch_to_deploy(logits)
        return logits

    def prepare(self, logits: Logits, batch: int, is_training: bool) -> Callable[[], Any]:
        """Prepare a network in place, and return the function to be measured.

        In inference the function returns the logits. A training step is the forward pass, the
        cross-entropy with random labels, the backward pass and AdamW, with float32 weights.
        `logits` is what `build` has returned; a folded network cannot be trained.
        """
        shape = (batch, logits.in_channels, *self.size)
        with FakeTensorMode(allow_non_fake_inputs=True):  # the shape alone, without any memory
            _, classes, *sides = logits(torch.empty(1, *shape[1:])).shape
        # all candidates see the same images
        images = self._place(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        network = self._place(logits.train(is_training))
        dtype, is_half = DTYPES[self.dtype], self.dtype != "float32"
        if self.casts and not is_training:
            network, images, is_half = network.to(dtype), images.to(dtype), False
        run: Callable[[Tensor], Tensor] = network
        if self.mode.endswith("compiled"):
            run = torch.compile(network, mode=self.compile_mode, dynamic=False)

        def infer() -> Tensor:
            with torch.inference_mode(), torch.autocast(self.device, dtype, is_half):
                return run(images)

        if not is_training:
            return infer
        labels = torch.randint(classes, (batch, *sides)).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        scaler = torch.amp.GradScaler(self.device, enabled=self.dtype == "float16")

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device, dtype, is_half):
                loss = scaler.scale(F.cross_entropy(run(images), labels))
            # The backward pass of the authors' transform computes with float32 filters: an error
            # beside gradients in half precision, unless autocast reaches it too.
            with torch.autocast(self.device, dtype, is_half and self.is_authors):
                loss.backward()
            scaler.step(optimizer)
            scaler.update()

        return step

    def _place(self, item: Any) -> Any:
        if self.is_authors:  # their code runs as it is shipped: in NCHW
            networks.set_transforms(self.device, torch.float32)
            return item.to(self.device)
        return item.to(device=self.device, memory_format=torch.channels_last)


def inspect_model(
    words: Sequence[str], size: tuple[int, int] | None = None, **ways: Any
) -> Candidate:
    """Build a model once, before a long run depends on it; `ways` says how it is run.

    Raises:
        UserInputError: If the model cannot be built.
    """
    logits = build_model(words)
    depth = getattr(getattr(logits.network, "backbone", None), "depth", None)
    return Candidate(
        tuple(words),
        logits.name,
        size or logits.image_size,
        sum(parameter.numel() for parameter in logits.parameters()),
        depth if isinstance(depth, int) else None,
        any(hasattr(module, "switch_to_deploy") for module in logits.modules()),
        logits.is_authors,
        **ways,
    )


def check_dtype(dtype: str, device: str) -> None:
    """Raise UserInputError if autocast in a type does not work on a device."""
    try:
        with torch.autocast(device, DTYPES[dtype], enabled=dtype != "float32"):
            layer = nn.Conv2d(4, 4, 1, device=device)
            layer(torch.rand(1, 4, 2, 2, device=device)).sum().backward()
    except RuntimeError as error:
        raise UserInputError(f"--dtype {dtype} does not work on {device}: {error}.") from error


def count_macs(network: nn.Module, in_channels: int, size: tuple[int, int]) -> int:
    """Count the multiply-adds of one image, without computing anything.

    These are the multiply-adds of convolutions and matrix products: `torch.utils.flop_counter`
    divided by two, as for `FLOPs` in configs/wavemix/metafile.yml. The transform by slices, norms
    and activations count nothing. The network is on the CPU in evaluation mode.
    """
    counter = FlopCounterMode(display=False)
    # Attention as matrix products, which the counter knows, not as one operator: gradients stay on,
    # because without them PyTorch's own encoder layer is one operator too.
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH), counter:
        network(torch.empty(1, in_channels, *size))
    return counter.get_total_flops() // 2


def matmul_ceiling(device: str, dtype: str, side: int | None = None) -> float:
    """Return the multiply-adds a second of a product of two square matrices, in the fastest call.

    In float32 on a GPU the product uses TF32 if convolutions do.

    Raises:
        UserInputError: If the device does not compute in this type.
    """
    check_dtype(dtype, device)
    side = side or MATMUL_SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(DTYPES[dtype]) for _ in range(2))
    out = torch.empty_like(a)  # fresh memory would cost time
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    timing = interleave({0: lambda: torch.matmul(a, b, out=out)}, device, rounds=5)[0]
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return side**3 / min(timing.calls, default=float("nan"))
