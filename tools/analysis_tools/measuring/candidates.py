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
_MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Model:
    """What is known of a model that has been built once."""

    words: tuple[str, ...]  # arguments of build_model
    name: str
    size: tuple[int, int]  # (H, W) of the images
    parameters: int
    can_deploy: bool  # whether switch_to_deploy changes something
    is_authors: bool  # whether it is the authors' own code
    depth: int | None  # number of blocks, if its backbone has a depth


def inspect_model(words: Sequence[str], size: tuple[int, int] | None = None) -> Model:
    """Build a model once, before a long run depends on it.

    Args:
        words: Arguments of `build_model`.
        size: (H, W) of the images. Defaults to the size in the config.

    Raises:
        UserInputError: If the model cannot be built.
    """
    logits = build_model(words)
    depth = getattr(getattr(logits.network, "backbone", None), "depth", None)
    return Model(
        tuple(words),
        logits.name,
        size or logits.image_size,
        sum(parameter.numel() for parameter in logits.parameters()),
        any(hasattr(module, "switch_to_deploy") for module in logits.modules()),
        logits.is_authors,
        depth if isinstance(depth, int) else None,
    )


@dataclass(frozen=True)
class Candidate:
    """One way to run one model."""

    model: Model
    dtype: str = "float32"  # bfloat16 and float16 are by autocast
    mode: str = "eager"  # or 'compiled', 'deploy', 'deploy+compiled'
    channels_last: bool = True  # memory format of weights and images
    device: str = "cpu"  # or 'cuda'
    cast_weights: bool = False  # in inference weights and images of dtype, instead of autocast
    compile_backend: str = "inductor"
    compile_mode: str = "default"

    @property
    def is_deploy(self) -> bool:
        """Whether the network is folded, so that it cannot be trained."""
        return self.mode.startswith("deploy")

    @property
    def casts(self) -> bool:
        """Whether inference runs with weights in half precision; the authors' code cannot."""
        return self.cast_weights and self.dtype != "float32" and not self.model.is_authors

    @property
    def label(self) -> str:
        """The model and how it is run."""
        return f"{self.model.name}, {self.describe()['runs_as']}"

    def describe(self) -> dict[str, Any]:
        """Return the start of a row of results."""
        weights = " weights" if self.casts else ""
        layout = "" if self.channels_last else ", NCHW"
        row = dict(
            model=self.model.name,
            runs_as=f"{self.dtype}{weights}, {self.mode}{layout}",
            device=self.device,
            dtype=self.dtype,
            mode=self.mode,
            channels_last=self.channels_last,
            cast_weights=self.casts,
            height=self.model.size[0],
            width=self.model.size[1],
            parameters=self.model.parameters,
        )
        return row if self.model.depth is None else row | dict(depth=self.model.depth)

    def build(self, weights: Mapping[str, Tensor] | None = None) -> Logits:
        """Build the network in float32 on the CPU, in evaluation mode, folded in a deploy mode.

        Args:
            weights: State dict of the authors' network of the same architecture, to be loaded.
        """
        torch.manual_seed(0)
        logits = build_model(self.model.words).eval()
        if weights is not None:
            logits.network.load_state_dict(
                weights if self.model.is_authors else convert_official(weights)
            )
        if self.is_deploy:
            switch_to_deploy(logits)
        return logits

    def inference(self, logits: Logits, batch: int) -> Callable[[], Tensor]:
        """Prepare a network for inference, in place, and return the function to be measured.

        Args:
            logits: The network that `build` has returned.
            batch: Number of images.
        """
        network, images = self._place(logits), self._place(self._images(logits, batch))
        if self.casts:
            dtype = DTYPES[self.dtype]
            network, images = network.to(dtype), images.to(dtype)
        run = self._compiled(network)

        def infer() -> Tensor:
            with torch.inference_mode(), self._autocast(enabled=not self.casts):
                return run(images)

        return infer

    def training(self, logits: Logits, batch: int) -> Callable[[], None]:
        """Prepare a network for training, in place, and return one step, to be measured.

        A step is the forward pass, the cross-entropy with random labels, the backward pass and
        AdamW. Weights are in float32; half precision is by autocast.

        Args:
            logits: The network that `build` has returned, in no deploy mode.
            batch: Number of images.
        """
        with FakeTensorMode(allow_non_fake_inputs=True):  # the shape alone, without any memory
            _, classes, *sides = logits(torch.empty(1, logits.in_channels, *self.model.size)).shape
        network, images = self._place(logits), self._place(self._images(logits, batch))
        labels = torch.randint(classes, (batch, *sides)).to(self.device)
        run = self._compiled(network.train())
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
        scaler = torch.amp.GradScaler(self.device, enabled=self.dtype == "float16")

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with self._autocast():
                loss = scaler.scale(F.cross_entropy(run(images), labels))
            # The backward pass of the authors' transform computes with float32 filters: an error
            # beside gradients in half precision, unless autocast reaches it too.
            with self._autocast(enabled=self.model.is_authors):
                loss.backward()
            scaler.step(optimizer)
            scaler.update()

        return step

    def _images(self, logits: Logits, batch: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)  # all candidates see the same images
        return torch.randn(batch, logits.in_channels, *self.model.size, generator=generator)

    def _autocast(self, enabled: bool = True) -> torch.autocast:
        is_half = self.dtype != "float32"
        return torch.autocast(self.device, DTYPES[self.dtype], enabled and is_half)

    def _place(self, item: Any) -> Any:
        if self.model.is_authors:
            networks.set_transforms(self.device, torch.float32)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return item.to(device=self.device, memory_format=layout)

    def _compiled(self, network: Logits) -> Callable[[Tensor], Tensor]:
        if not self.mode.endswith("compiled"):
            return network
        # other backends than PyTorch's own take no mode
        mode = self.compile_mode if self.compile_backend == "inductor" else None
        return torch.compile(network, backend=self.compile_backend, mode=mode, dynamic=False)


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
    and activations count nothing.

    Args:
        network: A network in evaluation mode, (N, in_channels, H, W) -> a tensor.
        in_channels: Channels of the image.
        size: (H, W) of the image.
    """
    counter = FlopCounterMode(display=False)
    device = next(network.parameters()).device
    # Attention as matrix products, which the counter knows, not as one operator: gradients stay on,
    # because without them PyTorch's own encoder layer is one operator too.
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH), counter:
        network(torch.empty(1, in_channels, *size, device=device))
    return counter.get_total_flops() // 2


def matmul_ceiling(device: str, dtype: str, side: int | None = None) -> float:
    """Measure the multiply-adds a second of a product of two square matrices.

    In float32 on a GPU the product uses TF32 if convolutions do.

    Args:
        device: 'cpu' or 'cuda'.
        dtype: A key of DTYPES.
        side: Rows of each matrix. Defaults to 2048 on a CPU, 8192 on a GPU.

    Returns:
        The rate of the fastest call.

    Raises:
        UserInputError: If the device does not compute in this type.
    """
    check_dtype(dtype, device)
    side = side or _MATMUL_SIDE[device]
    a, b = (torch.randn(side, side, device=device).to(DTYPES[dtype]) for _ in range(2))
    out = torch.empty_like(a)  # fresh memory would cost time
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    timing = interleave({0: lambda: torch.matmul(a, b, out=out)}, device, rounds=5)[0]
    torch.backends.cuda.matmul.allow_tf32 = allowed
    return side**3 / min(timing.calls, default=float("nan"))
