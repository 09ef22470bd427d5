"""Leave out optimizer steps whose loss or gradients are not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


class Step(NamedTuple):
    """What became of an optimizer step.

    Attributes:
        is_finite: False if it was left out.
        losses: The loss of each of its iterations, on the model's device.
        notes: The `note` of each of its iterations; see `StepGuard.begin`.
    """

    is_finite: bool
    losses: list[Tensor]
    notes: list[Any]


class StepGuard:
    """Check the gradients before each step of an optimizer wrapper; leave out the bad steps.

    The model's buffers, such as the statistics of batch norm, are checked too: a bad batch would
    spoil them for good. They get back the values that they had when the iteration began. If
    several processes train, all of them leave out the same steps.

    There are two ways. In general the host reads the answer and skips the step. On a GPU an
    optimizer with ``fused=True`` skips the step in its kernel: the host does not wait, and reads
    the answer at the next step. A GradScaler checks the gradients itself, because they overflow
    until it has found its scale.

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
        wrapper.step, wrapper.backward = self._guarded_step, self._noting_backward
        scaler = getattr(wrapper, "loss_scaler", None)
        self._has_scaler = scaler is not None and scaler.is_enabled()
        self._found_inf: Tensor | float = 0.0
        self._hook = wrapper.optimizer.register_step_post_hook(self._note_step)
        self._device = wrapper.optimizer.param_groups[0]["params"][0].device
        can_skip = getattr(wrapper.optimizer, "_step_supports_amp_scaling", False)
        wanted = self._device.type == "cuda" if on_device is None else on_device
        self._on_device = wanted and can_skip and not self._has_scaler
        # An expanded buffer is a constant; nothing can be copied into it.
        buffers = [b for b in model.buffers() if b.numel() and 0 not in b.stride()]
        # A mask may hold infinities on purpose.
        self._watched = [b for b in buffers if b.is_floating_point() and b.isfinite().all()]
        self._saved, self._current = _Copies(buffers), _Copies(buffers)
        self._losses: list[Tensor] = []
        self._notes: list[Any] = []
        self._is_new_step = True
        self._done: deque[tuple[Tensor, Any, list[Tensor], list[Any]]] = deque()

    def begin(self, note: Any) -> None:
        """Begin an iteration; its steps have `note` among their notes."""
        if self._is_new_step:
            self._notes, self._is_new_step = [], False
            self._saved.take()
        self._notes.append(note)

    def results(self, wait: bool) -> Iterator[Step]:
        """Yield the steps since the last call whose answer is known, in their order.

        Args:
            wait: Whether to wait for the last step on a GPU too.
        """
        while len(self._done) > (1 if self._on_device and not wait else 0):
            is_left_out, event, losses, notes = self._done.popleft()
            if event is not None:
                event.synchronize()
            yield Step(not is_left_out, losses, notes)

    def remove(self) -> None:
        """Give the optimizer wrapper its own methods back."""
        del self.wrapper.step, self.wrapper.backward
        self._hook.remove()

    def _noting_backward(self, loss: Tensor, **kwargs: Any) -> None:
        self._losses.append(loss.detach())
        self._backward(loss, **kwargs)

    def _note_step(self, optimizer: Any, *_: Any) -> None:
        # A GradScaler leaves out the call, or tells a fused optimizer to have no effect.
        self._found_inf = getattr(optimizer, "found_inf", 0.0)

    @torch.no_grad()
    def _guarded_step(self, **kwargs: Any) -> None:
        groups = self.wrapper.optimizer.param_groups
        # A loss may depend on none of the parameters.
        params = [p for group in groups for p in group["params"] if p.grad is not None]
        # A variance may overflow while all that comes after it is zero: look at the buffers too.
        checked = [loss.clone() for loss in self._losses] + self._watched
        if not self._has_scaler:
            checked = checked + [_values(p.grad) for p in params]
        bad = _find_not_finite(checked, self._device)
        if get_world_size() > 1:
            all_reduce(bad, "max")
        step = self._step_on_device if self._on_device else self._step_on_host
        flag, event = _to_host(step(bad, params, kwargs))
        self._done.append((flag, event, self._losses, self._notes))
        self._losses, self._is_new_step = [], True

    def _step_on_host(self, bad: Tensor, params: list[Tensor], kwargs: dict) -> Tensor:
        """Step unless `bad` is 1; return whether the step was left out."""
        self._found_inf = 1.0  # until the optimizer steps
        if not bad:
            self._call_step(params, kwargs)
        is_left_out = bool(self._found_inf)
        if is_left_out:
            self._saved.give_back()
        return torch.tensor(is_left_out)

    def _step_on_device(self, bad: Tensor, params: list[Tensor], kwargs: dict) -> Tensor:
        """Step, without effect if `bad` is 1; return `bad`."""
        optimizer: Any = self.wrapper.optimizer
        # how GradScaler tells a fused optimizer to skip
        optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            self._call_step(params, kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf
        self._current.take()
        for old, new in zip(self._saved.flat, self._current.flat, strict=True):
            new.copy_(torch.where(bad.bool().to(old.device), old, new))
        self._current.give_back()
        return bad

    def _call_step(self, params: list[Tensor], kwargs: dict) -> None:
        state = self.wrapper.optimizer.state
        fresh = [param for param in params if not state.get(param)]
        with torch.enable_grad():
            self._step(**kwargs)
        # If its kernel skips its first step, the fused SGD leaves its state unwritten.
        if isinstance(self._found_inf, Tensor):
            values = [value for param in fresh for value in state[param].values()]
            for value in filter(torch.is_tensor, values):
                value.masked_fill_(self._found_inf.bool().to(value.device), 0)


def _values(grad: Tensor) -> Tensor:
    grad = grad.coalesce().values() if grad.is_sparse else grad
    return torch.view_as_real(grad) if grad.is_complex() else grad


def _find_not_finite(tensors: list[Tensor], device: torch.device) -> Tensor:
    """Return 1.0 if an entry of the tensors is not finite, else 0.0, as a tensor."""
    found = torch.zeros((), device=device)
    for group in _groups(tensors):
        part = torch.zeros((), device=group[0].device)
        # GradScaler's function, with a factor of 1: it changes no value. On a CPU it takes a tenth
        # of the time of norms for 300 small tensors.
        torch._amp_foreach_non_finite_check_and_unscale_(group, part, torch.ones_like(part))
        found = torch.maximum(found, part.to(device))
    return found


def _to_host(flag: Tensor) -> tuple[Tensor, Any]:
    """Copy a flag without waiting; return the copy and the event to wait for before it is read."""
    if not flag.is_cuda:
        return flag, None
    copied = flag.to("cpu", non_blocking=True)  # into pinned memory
    return copied, torch.cuda.current_stream(flag.device).record_event()


def _groups(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Group tensors by type and device: a call for each tensor would cost more than the work."""
    groups: dict[tuple, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


class _Copies:
    """Copies of tensors.

    Attributes:
        flat: One tensor for each type and device, with the values of all its copies.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._groups = _groups(tensors)
        self.flat = [torch.cat([t.flatten() for t in group]) for group in self._groups]
        self._copies = [
            [part.view(t.shape) for part, t in zip(parts, group, strict=True)]
            for group, flat in zip(self._groups, self.flat, strict=True)
            for parts in [flat.split([t.numel() for t in group])]
        ]

    def take(self) -> None:
        """Copy the values of the tensors."""
        for copies, group in zip(self._copies, self._groups, strict=True):
            torch._foreach_copy_(copies, group)

    def give_back(self) -> None:
        """Copy the values that were taken into the tensors."""
        for copies, group in zip(self._copies, self._groups, strict=True):
            torch._foreach_copy_(group, copies)
