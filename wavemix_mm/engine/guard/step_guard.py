"""Leave out optimizer steps whose loss or gradients are not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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
    """Check the gradients before each step of an optimizer wrapper; leave out the bad steps.

    The model's buffers, such as the statistics of batch norm, are checked too: a bad batch would
    spoil them for good. They get back the values that they had when the iteration began. If
    several processes train, all of them leave out the same steps.

    The host looks at the answer, and skips the step. On a GPU an optimizer with ``fused=True``
    skips the step in its kernel, so that the host need not wait; it reads the answer at the next
    step. A GradScaler looks for itself, and waits.

    Args:
        wrapper: The optimizer wrapper; `remove` gives it its own methods back.
        model: The model, inside of a DistributedDataParallel or not.
        on_device: Whether a fused optimizer skips the step in its kernel; None does so on a GPU.
    """

    def __init__(
        self, wrapper: OptimWrapper, model: nn.Module, on_device: bool | None = None
    ) -> None:
        self.wrapper = wrapper
        self._step, self._backward = wrapper.step, wrapper.backward
        wrapper.step = self._guarded_step
        wrapper.backward = self._noting_backward
        scaler = getattr(wrapper, "loss_scaler", None)
        self._has_scaler = scaler is not None and scaler.is_enabled()
        self._has_stepped = False
        self._hook = wrapper.optimizer.register_step_post_hook(self._note_step)
        params = [p for group in wrapper.optimizer.param_groups for p in group["params"]]
        self._device = params[0].device
        can_skip = getattr(wrapper.optimizer, "_step_supports_amp_scaling", False)
        wanted = self._device.type == "cuda" if on_device is None else on_device
        self._on_device = wanted and can_skip and not self._has_scaler
        # An expanded buffer is a constant; nothing can be copied into it.
        self._buffers = [b for b in model.buffers() if b.numel() and 0 not in b.stride()]
        # A mask may hold infinities on purpose.
        self._watched = [
            buffer
            for buffer in self._buffers
            if buffer.is_floating_point() and buffer.isfinite().all()
        ]
        self._saved = _pack(self._buffers)
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
        while len(self._done) > (1 if self._on_device and not wait else 0):
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
        # An iteration may step more than once, and a step may come before any iteration.
        has_begun = bool(self._notes)
        losses, notes = self._losses, self._notes or self._last_notes
        self._losses, self._notes, self._last_notes = [], [], notes
        groups = self.wrapper.optimizer.param_groups
        # None of the parameters has a gradient where the loss does not depend on them.
        params = [p for group in groups for p in group["params"] if p.grad is not None]
        # Zero, or nan if something is not finite; the largest numbers cannot overflow.
        bad = torch.zeros((), device=self._device)
        for loss in losses:
            bad += (loss * 0).sum().to(bad)
        # A variance may overflow while all that comes after it is zero. Gradients in float16 do.
        grads = [] if self._has_scaler else [_values(p.grad) for p in params]
        for group in _groups(self._watched + grads):
            bad += _zero_or_nan(group).to(bad)
        if get_world_size() > 1:
            all_reduce(bad, "sum")
        step = self._step_on_device if self._on_device else self._step_on_host
        self._done.append((_Flag(step(bad.isnan(), params, kwargs)), losses, notes))
        if not has_begun:
            self._saved = _pack(self._buffers)

    def _step_on_host(self, bad: Tensor, params: list[Tensor], kwargs: dict) -> bool:
        """Step unless `bad` is true; return whether the step was left out."""
        is_left_out = not self._has_scaler and bool(bad)
        if self._has_scaler:  # it looks for itself, and lowers its scale
            values = [p.grad._values() if p.grad.is_sparse else p.grad for p in params]
            for value in [value for value in values if value.numel()][:1]:
                value.masked_fill_(bad.to(value.device), float("nan"))
        if not is_left_out:
            self._has_stepped = False
            with torch.enable_grad():
                self._step(**kwargs)
            is_left_out = self._has_scaler and not self._has_stepped
        if is_left_out:
            _unpack(self._saved, self._buffers)
        return is_left_out

    def _step_on_device(self, bad: Tensor, params: list[Tensor], kwargs: dict) -> Tensor:
        """Step, without effect if `bad` is true; return `bad`."""
        optimizer: Any = self.wrapper.optimizer
        fresh = [param for param in params if not optimizer.state.get(param)]
        # what GradScaler tells a fused optimizer
        optimizer.grad_scale, optimizer.found_inf = None, bad.float()
        try:
            with torch.enable_grad():
                self._step(**kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf
        for param in fresh:  # of the fused SGD, memory that nothing was written to
            for value in optimizer.state[param].values():
                if isinstance(value, Tensor):
                    value.masked_fill_(bad.to(value.device), 0)
        _unpack(
            [
                torch.where(bad.to(old.device), old, new)
                for old, new in zip(self._saved, _pack(self._buffers), strict=True)
            ],
            self._buffers,
        )
        return bad


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad


def _zero_or_nan(tensors: list[Tensor]) -> Tensor:
    """Zero, or nan if a number in one of the tensors, all of one device and type, is not finite."""
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
            self._event = torch.cuda.current_stream(value.device).record_event()

    def read(self) -> bool:
        if self._event is not None:
            self._event.synchronize()
        return bool(self.value)


# Many small tensors as a few large ones: a kernel for each would cost more than the work.


def _groups(tensors: list[Tensor]) -> list[list[Tensor]]:
    """The tensors that are not empty, by type and device."""
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
    return list(groups.values())


def _pack(tensors: list[Tensor]) -> list[Tensor]:
    """Copy tensors of any shapes into one for each type and device."""
    return [torch.cat([tensor.flatten() for tensor in group]) for group in _groups(tensors)]


def _unpack(packed: list[Tensor], tensors: list[Tensor]) -> None:
    """Copy back what `_pack` made of these tensors."""
    for source, group in zip(packed, _groups(tensors), strict=True):
        parts = source.split([tensor.numel() for tensor in group])
        parts = [part.view(tensor.shape) for part, tensor in zip(parts, group, strict=True)]
        torch._foreach_copy_(group, parts)
