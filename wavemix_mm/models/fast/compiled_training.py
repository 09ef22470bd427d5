"""Train with compiled blocks, and CUDA graphs of them.

A training step of 192/16 level 3 at 224x224, batch 64, took 82 ms with compiled blocks and 154 ms
without on an H100, where the kernels of the latter take 49 ms.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from wavemix_mm.models.fast.by_size import (
    NETWORKS,
    BySize,
    can_compile,
    compile_network,
    first_line,
    leaves,
    map_tensors,
    warn,
)
from wavemix_mm.models.fast.haar_concat import use_haar_kernel
from wavemix_mm.registry import HOOKS

_GRAPHS = dict(mode="reduce-overhead")
# Largest difference between the results with and without CUDA graphs, over their norm: kernels and
# random numbers are the same.
_TOLERANCE = 1e-3
_WARM_UPS, _ROUNDS = 3, 5


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the networks of a model for a training or a test.

    The blocks of a network are compiled one by one, once for each size of images, up to a bound.
    A validation during the training runs eagerly. Names of parameters stay.

    Args:
        options: Arguments of torch.compile; see `compile_networks`.
        optimize: Leave out networks that are not made of blocks and might take minutes to compile.
            On a GPU, try CUDA graphs, and keep them if the results are the same and a step takes
            less time.
    """

    def __init__(self, options: dict[str, Any] | None = None, optimize: bool = False) -> None:
        self.options = dict(options or {})
        self.optimize = optimize

    def before_train(self, runner: Runner) -> None:
        """Compile, after hooks such as EMA have copied the model."""
        self._tries_graphs = self._can_try_graphs(runner)
        self._compile(runner, True, self._tries_graphs)

    def before_test(self, runner: Runner) -> None:
        """Compile, unless the option was `optimize`, which is for training."""
        if not self.optimize:
            self._compile(runner, False, False)

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Tell PyTorch's CUDA graphs that nothing of the last iteration is needed any more."""
        if self._tries_graphs and not self._can_try_graphs(runner):  # a hook changed the optimizer
            self.before_train(runner)
        torch.compiler.cudagraph_mark_step_begin()

    def before_test_iter(self, *args: Any, **kwargs: Any) -> None:
        """As in training."""
        torch.compiler.cudagraph_mark_step_begin()

    def _can_try_graphs(self, runner: Runner) -> bool:
        # A graph overwrites its outputs at the next iteration: gradients must not outlive a step.
        counts = getattr(runner.optim_wrapper, "_accumulative_counts", None)
        return self.optimize and counts == 1 and not is_model_wrapper(runner.model)

    def _compile(self, runner: Runner, mode: bool, try_graphs: bool) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        compile_networks(model, self.options, self.optimize, mode, try_graphs)
        runner.logger.info("The networks are compiled: the first iterations take long.")


def compile_networks(
    model: nn.Module,
    options: dict[str, Any],
    only_blocks: bool = False,
    mode: bool = True,
    try_graphs: bool = False,
) -> None:
    """Compile the networks of a model, in place.

    Args:
        model: A segmentor or classifier.
        options: Arguments of torch.compile, and two more. With `haar_kernel=True`, the transform
            runs as a Triton kernel on a GPU. With `recompute=True`, the backward pass computes
            the results of GELU and dropout again. A process has one such value, because blocks
            share compiled code.
        only_blocks: Leave out networks that `can_compile` does not know.
        mode: Whether they are compiled for training; else for evaluation.
        try_graphs: Whether to try CUDA graphs of compiled blocks.
    """
    options = dict(options)
    haar_kernel = options.pop("haar_kernel", False)
    for name in NETWORKS:
        network = getattr(model, name, None)
        if isinstance(network, nn.Module) and (can_compile(network) or not only_blocks):
            if haar_kernel:
                use_haar_kernel(network)
            network.forward = CompiledForward(network, mode, options, try_graphs)


class CompiledForward(BySize):
    """Take the place of a network's `forward` in training, or in evaluation.

    In the other mode, and on other arguments than tensors, the network runs eagerly. A copy of the
    network compiles anew.

    Args:
        network: The network.
        mode: Whether it is compiled for training; else for evaluation.
        options: Arguments of torch.compile.
        try_graphs: Whether to try CUDA graphs of compiled blocks.
    """

    def __init__(
        self, network: nn.Module, mode: bool, options: dict[str, Any], try_graphs: bool = False
    ) -> None:
        # from the first step on, so that a resumed run computes the same
        super().__init__(network, number=0)
        self.mode = mode
        self.options = options
        self.try_graphs = try_graphs and options.keys().isdisjoint(("mode", "options", "backend"))
        self.works = True
        self.is_trial = False

    def __getstate__(self) -> tuple:
        return self.network, self.mode, self.options, self.try_graphs

    def __setstate__(self, state: tuple) -> None:
        CompiledForward.__init__(self, *state)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network's own forward returns."""
        inputs = list(leaves(args))
        is_plain = inputs and not kwargs and all(isinstance(x, Tensor) for x in inputs)
        in_mode = self.network.training == torch.is_grad_enabled() == self.mode
        run = self._choose(args) if is_plain and in_mode and self.works else self._run_eagerly
        return run(*args, **kwargs)

    def compile_part(self, part: nn.Module, **options: Any) -> _CompiledPart:
        """Compile a part, which runs eagerly, after one warning, if that does not work."""
        return _CompiledPart(part, self, options)

    def _prepare(self, args: tuple) -> Callable:
        options = self.options
        blocks = getattr(self.network, "blocks", None)
        recomputes = getattr(self.network, "with_cp", False)  # a graph would run within another
        # A head would be tried while the outputs of the backbone's graphs are needed.
        if self.try_graphs and isinstance(blocks, nn.ModuleList) and not recomputes:
            self.try_graphs = _is_better(self.network, args, options)
            options = options | (_GRAPHS if self.try_graphs else {})
        return compile_network(self.network, options, self.compile_part)


class _CompiledPart(nn.Module):
    def __init__(self, part: nn.Module, owner: CompiledForward, options: dict[str, Any]) -> None:
        super().__init__()
        self.part = part
        self.recomputes = options.pop("recompute", False)
        self.compiled = torch.compile(part, **options)
        self.__dict__["owner"] = owner

    def forward(self, *args: Any) -> Any:
        if self.owner.works:
            # With the backward pass compiled too, an error leaves the part as if it had not run.
            # Not `activation_memory_budget`: it draws new random numbers for dropout in the
            # backward pass (torch 2.11, CPU).
            settings = torch._functorch.config.patch(
                force_non_lazy_backward_lowering=True,
                ban_recompute_materialized_backward=not self.recomputes,
            )
            try:
                with settings:
                    return self.compiled(*args)
            except torch._dynamo.exc.TorchDynamoException as error:
                if self.owner.is_trial:
                    raise
                self.owner.works = False
                warn(f"torch.compile does not work here: {first_line(error)}. Running eagerly.")
        return self.part(*args)


def _is_better(network: nn.Module, args: tuple, options: dict[str, Any]) -> bool:
    """Whether CUDA graphs give the same results as compiled blocks alone, in less time."""
    device = next(leaves(args)).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            ways = [_Trial(network, args, options), _Trial(network, args, options | _GRAPHS)]
            (again, alone), (_, graphs) = (
                [way.step() for _ in range(_WARM_UPS)][-2:] for way in ways
            )
            times = [[way.seconds() for way in ways] for _ in range(_ROUNDS)]
        difference = _difference(again, alone, graphs)
        ratio = statistics.median(a / b for a, b in times)
        is_better = difference <= _TOLERANCE and ratio > 1
        told = f"{ratio:.2f} times as fast, difference {max(difference, 0):.1e}"
    except RuntimeError as error:  # out of memory, for instance
        is_better, told = False, first_line(error)
    size = "x".join(map(str, next(leaves(args)).shape))
    use = "used" if is_better else "not used"
    print_log(f"CUDA graphs at {size}, beside compiled blocks alone: {told}; {use}.", "current")
    if not is_better:
        torch.compiler.reset()  # the memory of the graphs, too
    return is_better


class _Trial:
    """Training steps of a copy of a network."""

    def __init__(self, network: nn.Module, args: tuple, options: dict[str, Any]) -> None:
        self.network = copy.deepcopy(network)
        forward: Any = self.network.forward
        forward.is_trial = True
        self.args = map_tensors(torch.clone, args)
        self.run = compile_network(self.network, options, forward.compile_part)

    def step(self) -> list[Tensor]:
        """Return copies of the outputs and gradients; all steps draw the same random numbers."""
        torch.manual_seed(0)
        torch.compiler.cudagraph_mark_step_begin()
        outputs = [x for x in leaves(self.run(*self.args)) if x.requires_grad]
        torch.stack([x.float().square().mean() for x in outputs]).sum().backward()
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        results = [x.detach().clone() for x in (*outputs, *grads)]
        self.network.zero_grad()
        return results

    def seconds(self) -> float:
        """Return the time of a step."""
        start = self._now()
        self.step()
        return self._now() - start

    def _now(self) -> float:
        if next(leaves(self.args)).is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def _difference(again: list[Tensor], alone: list[Tensor], graphs: list[Tensor]) -> float:
    """Return by how much graphs change the results more than a repetition does.

    Kernels of cuDNN may add up in another order each time. A bias in front of a batch norm has the
    gradient zero, so that rounding is all of it.
    """

    def relative(actual: Tensor, expected: Tensor) -> Tensor:
        actual, expected = actual.float(), expected.float()
        return (actual - expected).norm() / expected.norm().clamp(min=1e-30)

    results = zip(again, alone, graphs, strict=True)
    # the largest of torch, not of Python: it may be nan
    return torch.stack([relative(c, b) - 4 * relative(a, b) for a, b, c in results]).max().item()
