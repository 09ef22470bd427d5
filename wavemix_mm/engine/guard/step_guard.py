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

    There are two ways. In general the host reads the answer and skips the step. An optimizer with
    ``fused=True`` skips the step in its kernel: the host does not wait for a GPU, and reads the
    answer at the next step. A GradScaler checks the gradients itself, because they overflow until
    it has found its scale. `remove` gives the wrapper its own methods back.
    """

    def __init__(self, wrapper: OptimWrapper, model: nn.Module) -> None:
        self.wrapper = wrapper
        self._step, self._backward = wrapper.step, wrapper.backward
        wrapper.step, wrapper.backward = self._guarded_step, self._noting_backward
        optimizer = wrapper.optimizer
        self._hook = optimizer.register_step_post_hook(self._note_step)
        self._device = optimizer.param_groups[0]["params"][0].device
        scaler = getattr(wrapper, "loss_scaler", None)
        self._has_scaler = scaler is not None and scaler.is_enabled()
        can_skip = getattr(optimizer, "_step_supports_amp_scaling", False)
        self._in_kernel = can_skip and not self._has_scaler
        # An expanded buffer is a constant; nothing can be copied into it.
        buffers = [b for b in model.buffers() if b.numel() and 0 not in b.stride()]
        # A mask may hold infinities on purpose.
        self._watched = [b for b in buffers if b.is_floating_point() and b.isfinite().all()]
        self._buffers = _groups(buffers)
        self._saved = list(map(_pack, self._buffers))
        self._losses: list[Tensor] = []
        self._notes: list[Any] = []
        self._is_new_step = True
        self._done: deque[tuple[Tensor, Any, list[Tensor], list[Any]]] = deque()

    def begin(self, note: Any) -> None:
        """Begin an iteration; its steps have `note` among their notes."""
        if self._is_new_step:
            self._notes, self._is_new_step = [], False
            self._saved = list(map(_pack, self._buffers))
        self._notes.append(note)

    def results(self, wait: bool) -> Iterator[Step]:
        """Yield the steps since the last call whose answer is known, in their order.

        With `wait`, the last step of a fused optimizer is among them.
        """
        while len(self._done) > (1 if self._in_kernel and not wait else 0):
            is_left_out, event, losses, notes = self._done.popleft()
            if event is not None:
                event.synchronize()
            yield Step(not is_left_out, losses, notes)

    def remove(self) -> None:
        """Stop guarding the optimizer wrapper."""
        del self.wrapper.step, self.wrapper.backward
        self._hook.remove()

    def _noting_backward(self, loss: Tensor, **kwargs: Any) -> None:
        self._losses.append(loss.detach())
        self._backward(loss, **kwargs)

    def _note_step(self, optimizer: Any, *_: Any) -> None:
        # A GradScaler leaves out the call, or tells a fused optimizer to have no effect.
        self._left_out = torch.as_tensor(getattr(optimizer, "found_inf", 0.0))

    @torch.no_grad()
    def _guarded_step(self, **kwargs: Any) -> None:
        optimizer: Any = self.wrapper.optimizer
        # A loss may depend on none of the parameters.
        params = [p for group in optimizer.param_groups for p in group["params"]]
        params = [p for p in params if p.grad is not None]
        # A variance may overflow while all that comes after it is zero: look at the buffers too.
        checked = [loss.clone() for loss in self._losses] + self._watched
        if not self._has_scaler:
            checked = checked + [_values(p.grad) for p in params]
        bad = _find_not_finite(checked, self._device)
        if get_world_size() > 1:
            all_reduce(bad, "max")
        fresh = [param for param in params if not optimizer.state.get(param)]
        self._left_out = torch.ones(())  # until the optimizer steps
        if self._in_kernel:
            # how GradScaler tells a fused optimizer to skip
            optimizer.grad_scale, optimizer.found_inf = None, bad
        try:
            if self._in_kernel or not bad:
                with torch.enable_grad():
                    self._step(**kwargs)
        finally:
            if self._in_kernel:
                del optimizer.grad_scale, optimizer.found_inf
        if self._in_kernel or self._left_out:  # a look at a GPU's answer would wait for it
            self._undo(fresh)
        self._done.append((*_to_host(self._left_out), self._losses, self._notes))
        self._losses, self._is_new_step = [], True

    def _undo(self, fresh: list[nn.Parameter]) -> None:
        """Undo the effects of a step that is left out, on buffers and on `fresh` parameters."""
        for saved, group in zip(self._saved, self._buffers, strict=True):
            left_out = self._left_out.bool().to(saved.device)
            values = torch.where(left_out, saved, _pack(group))
            parts = values.split([tensor.numel() for tensor in group])
            shaped = [part.view(tensor.shape) for part, tensor in zip(parts, group, strict=True)]
            torch._foreach_copy_(group, shaped)
        # If its kernel skips its first step, the fused SGD leaves its state unwritten.
        state = self.wrapper.optimizer.state
        for value in [value for param in fresh for value in state.get(param, {}).values()]:
            if torch.is_tensor(value):
                value.masked_fill_(self._left_out.bool().to(value.device), 0)


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


def _pack(group: list[Tensor]) -> Tensor:
    """Copy the values of tensors of one type and device into one tensor."""
    return torch.cat([tensor.flatten() for tensor in group])
