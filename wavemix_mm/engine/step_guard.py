"""Leave out optimizer steps whose loss or gradients are not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


@dataclass
class Step:
    """What became of an optimizer step.

    Attributes:
        is_finite: False if it was left out.
        losses: The loss of each of its iterations, on the model's device.
        notes: What `StepGuard.begin` was given for each of them.
    """

    is_finite: bool
    losses: list[Tensor]
    notes: list[Any]


class StepGuard:
    """Stands in the way of an optimizer wrapper's step until the gradients have been looked at.

    The model's buffers, such as the statistics of batch norm, are looked at too: a bad batch would
    spoil them for good. They get the values back that they had before it. With several processes
    all of them leave out the same steps.

    On a GPU the host does not wait for the answer. An optimizer with ``fused=True`` skips the step
    in its kernel; for another one the gradients are set to zero where one is not finite, and the
    weights set back, so that of its state only the moments decay by one step. The host learns of it
    at the next step, when the GPU is through with this one and busy with that. A GradScaler looks
    for itself, and waits.

    Args:
        wrapper: The optimizer wrapper; `remove` gives it its own methods back.
        model: The model, inside of a DistributedDataParallel or not.
        on_device: Whether to leave the answer on the device; None does so on a GPU.
    """

    def __init__(
        self, wrapper: OptimWrapper, model: nn.Module, on_device: bool | None = None
    ) -> None:
        self.wrapper = wrapper
        self._step, self._backward = wrapper.step, wrapper.backward
        wrapper.step = self._guarded_step
        wrapper.backward = self._noting_backward
        self._hook = wrapper.optimizer.register_step_post_hook(self._note_step)
        self._has_stepped = False
        self._has_scaler = hasattr(wrapper, "loss_scaler")
        is_cuda = next(model.parameters()).is_cuda
        self._on_device = is_cuda if on_device is None else on_device
        self._buffers = [buffer for buffer in model.buffers() if buffer.is_contiguous()]
        # a mask may hold infinities on purpose
        self._watched = [
            buffer
            for buffer in self._buffers
            if buffer.is_floating_point() and buffer.isfinite().all()
        ]
        self._is_first = True
        self._saved: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._notes: list[Any] = []
        self._last_notes: list[Any] = []
        self._done: deque[tuple[_Flag, list[Tensor], list[Any]]] = deque()

    def begin(self, note: Any) -> None:
        """Begin an iteration; `note` is given back with what became of its step."""
        if not self._notes:
            self._saved = _pack(self._buffers)
        self._notes.append(note)

    def results(self, wait: bool) -> Iterator[Step]:
        """Give back what is known of the steps since the last call, in their order.

        Args:
            wait: Whether to wait for the last step on a GPU too.
        """
        while len(self._done) > (0 if wait or not self._on_device or self._has_scaler else 1):
            flag, losses, notes = self._done.popleft()
            yield Step(not flag.read(), losses, notes)

    def remove(self) -> None:
        """Give the optimizer wrapper its own methods back."""
        del self.wrapper.step, self.wrapper.backward
        self._hook.remove()

    def _noting_backward(self, loss: Tensor, **kwargs: Any) -> None:
        self._losses.append(loss.detach())
        self._backward(loss, **kwargs)

    def _note_step(self, *_: Any) -> None:
        self._has_stepped = True

    @torch.no_grad()
    def _guarded_step(self, **kwargs: Any) -> None:
        # an iteration may step more than once
        losses, notes = self._losses, self._notes or self._last_notes
        self._losses, self._notes, self._last_notes = [], [], notes
        groups = self.wrapper.optimizer.param_groups
        params = [p for group in groups for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in params]
        # Zero, or nan where something is not finite; the largest numbers cannot overflow.
        bad = sum(loss * 0 for loss in losses) + torch.zeros((), device=grads[0].device)
        # A variance may overflow while all that comes after it is zero. Gradients in float16 do.
        watched = self._watched + ([] if self._has_scaler else grads)
        if watched:
            bad += _zero_or_nan(watched)
        if get_world_size() > 1:
            all_reduce(bad, "sum")
        if self._has_scaler:
            self._has_stepped = False
            grads[0].add_(bad)  # for the scaler to find
            with torch.enable_grad():
                self._step(**kwargs)
            flag = _Flag(not self._has_stepped)
            if not self._has_stepped:
                _unpack(self._saved, self._buffers)
        elif self._on_device:
            bad = bad.isnan()
            self._step_on_device(bad, params, grads, kwargs)
            flag = _Flag(bad)
        else:
            flag = _Flag(bool(bad.isnan()))
            if flag.value:
                _unpack(self._saved, self._buffers)
            else:
                with torch.enable_grad():
                    self._step(**kwargs)
        self._done.append((flag, losses, notes))

    def _step_on_device(
        self, bad: Tensor, params: list[Tensor], grads: list[Tensor], kwargs: dict
    ) -> None:
        """Step; where `bad` is true without effect."""
        optimizer: Any = self.wrapper.optimizer
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            known = set(map(id, self._state())) if self._is_first else set()
            # what GradScaler tells a fused optimizer
            optimizer.grad_scale, optimizer.found_inf = None, bad.float()
            with torch.enable_grad():
                self._step(**kwargs)
            del optimizer.grad_scale, optimizer.found_inf
            if self._is_first:  # of the fused SGD, memory that nothing was written to
                new = [value for value in self._state() if id(value) not in known]
                _unpack([value.masked_fill(bad, 0) for value in _pack(new)], new)
                self._is_first = False
        else:
            before = _pack(params)
            _unpack([grad.masked_fill(bad, 0) for grad in _pack(grads)], grads)
            with torch.enable_grad():
                self._step(**kwargs)
            _choose(bad, before, params)
        _choose(bad, self._saved, self._buffers)

    def _state(self) -> list[Tensor]:
        """The tensors in the optimizer's state."""
        states = self.wrapper.optimizer.state.values()
        return [v for state in states for v in state.values() if isinstance(v, Tensor)]


def _zero_or_nan(tensors: list[Tensor]) -> Tensor:
    """Zero, or nan if a number in one of the tensors is not finite."""
    if tensors[0].device.type == "cpu":
        # An eighth of the time of the largest entry, but it overflows where that is finite.
        norms = torch.stack(torch._foreach_norm(tensors, 2))
        if norms.isfinite().all():
            return torch.zeros(())
    return (torch.stack(torch._foreach_norm(tensors, float("inf"))) * 0).sum()


class _Flag:
    """A bool that may be on its way from a GPU."""

    def __init__(self, value: bool | Tensor) -> None:
        self.value = value
        self._event = None
        if isinstance(value, Tensor) and value.is_cuda:
            self.value = torch.empty((), dtype=torch.bool, pin_memory=True)
            self.value.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def read(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self.value)


# Many small tensors as a few large ones: a kernel for each would cost more than the work.


def _groups(tensors: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            groups.setdefault((tensor.dtype, tensor.device), []).append(_flat(tensor.detach()))
    return groups.values()


def _flat(tensor: Tensor) -> Tensor:
    """A view with one dimension, in the order of the memory."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.permute(sorted(range(tensor.dim()), key=lambda i: -tensor.stride(i))).view(-1)


def _pack(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Copy tensors of any shapes into one for each type."""
    return [torch.cat(group) for group in _groups(tensors)]


def _unpack(packed: list[Tensor], tensors: Iterable[Tensor]) -> None:
    """Copy back what `_pack` made of these tensors."""
    for source, group in zip(packed, _groups(tensors), strict=True):
        torch._foreach_copy_(group, source.split([tensor.numel() for tensor in group]))


def _choose(condition: Tensor, packed: list[Tensor], tensors: list[Tensor]) -> None:
    """Copy back where the condition is true."""
    now = _pack(tensors)
    _unpack(
        [torch.where(condition, old, new) for old, new in zip(packed, now, strict=True)], tensors
    )
