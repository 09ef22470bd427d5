"""How a model is divided; test_distributed_training.py trains with the strategy."""

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from processes import run_in_processes
from torch import nn

from wavemix_mm.engine.parallel.strategies import FSDPStrategy
from wavemix_mm.errors import UserInputError

NAME = "torch.distributed.fsdp.wrap.size_based_auto_wrap_policy"


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        return dict(loss=self.last(self.first(inputs)).square().mean())


def train_built():
    """Two steps of optimizers that are built already, saved and loaded; returns what changed."""
    torch.distributed.init_process_group("gloo")
    results = []
    for what in ("optimizer", "wrapper", "in a config"):
        torch.manual_seed(0)
        model = Net()
        groups = [
            dict(params=model.first.parameters(), lr=0.2),
            dict(params=model.last.parameters()),
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.1)
        optimizers = {
            "optimizer": optimizer,
            "wrapper": OptimWrapper(optimizer, clip_grad=dict(max_norm=0.1)),
            "in a config": dict(type="OptimWrapper", optimizer=optimizer),
        }
        policy = dict(type=NAME, min_num_params=9)
        strategy = FSDPStrategy(model_wrapper=dict(auto_wrap_policy=policy))
        strategy.prepare(model, optim_wrapper=optimizers[what])
        before = {key: value.clone() for key, value in strategy.model_state_dict().items()}
        wrapper = strategy.optim_wrapper
        for _ in range(2):
            wrapper.update_params(strategy.model(torch.ones(2, 4), mode="loss")["loss"])
        after = strategy.model_state_dict()
        changed = [not torch.equal(before[key], after[key]) for key in after]
        states = len(strategy.optim_state_dict().get("state", ()))
        results.append((changed, states, wrapper.get_lr()["lr"]))
    return results


def test_an_optimizer_that_is_built_already():
    for (changed, states, rates), (_, _, others) in zip(
        *run_in_processes(2, train_built), strict=True
    ):
        assert len(changed) == 4 and all(changed) and states == 4
        assert rates == others == [0.2, 0.1]


def refuse():
    torch.distributed.init_process_group("gloo")
    said = []
    for kind in ("foreign", "several"):
        model = Net()
        optimizer = torch.optim.SGD((Net() if kind == "foreign" else model).parameters(), lr=0.1)
        wrapper = OptimWrapper(optimizer)
        if kind == "several":
            wrapper = OptimWrapperDict(a=wrapper, b=wrapper)
        try:
            FSDPStrategy().prepare(model, optim_wrapper=wrapper)
        except UserInputError as error:
            said.append(str(error))
    return said


def test_built_optimizers_that_do_not_fit():
    (said,) = run_in_processes(1, refuse)
    assert len(said) == 2 and "cannot divide a built SGD" in said[0]
    assert "a single optimizer" in said[1]
