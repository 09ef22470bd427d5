"""The loss in the log is that of all processes."""

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner.priority import get_priority
from processes import run_in_processes

from wavemix_mm.engine.hooks import MeanLossHook


def reduced(rank):
    loss = torch.tensor(1.0 + 2 * rank, requires_grad=True)
    outputs = dict(loss=loss, loss_aux=torch.tensor([3.0 * rank]), note="not a number")
    MeanLossHook().after_train_iter(None, 0, None, outputs)
    MeanLossHook().after_train_iter(None, 0, None, None)
    return {key: getattr(value, "tolist", lambda v=value: v)() for key, value in outputs.items()}


def reduced_in_two():
    torch.distributed.init_process_group("gloo")
    return reduced(torch.distributed.get_rank())


def test_mean_over_the_processes():
    expected = dict(loss=2.0, loss_aux=1.5, note="not a number")
    assert run_in_processes(2, reduced_in_two) == [expected] * 2


def test_one_process_keeps_its_losses():
    assert reduced(rank=0) == dict(loss=1.0, loss_aux=[0.0], note="not a number")


def test_it_is_called_before_the_values_are_noted():
    assert get_priority(MeanLossHook.priority) < get_priority(RuntimeInfoHook.priority)
