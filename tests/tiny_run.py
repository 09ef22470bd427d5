"""A run of mmengine's Runner that takes milliseconds, with scores to order."""

import itertools

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn

_NAMES = itertools.count()


@MODELS.register_module(name="TinyRunNet")
class _Net(BaseModel):
    """Learns the sum of three numbers; ``ballast`` numbers make its checkpoints larger."""

    def __init__(self, ballast=0):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 1))
        self.register_buffer("ballast", torch.zeros(ballast))

    def forward(self, inputs, targets, mode="tensor"):
        output = self.layers(inputs).squeeze(1)
        return dict(loss=(output - targets).square().mean()) if mode == "loss" else [output]


@DATASETS.register_module(name="TinyRunData")
class _Data(torch.utils.data.Dataset):
    def __init__(self):
        self.inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(5))

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], self.inputs[index].sum()


@METRICS.register_module(name="TinyRunScore")
class _Score(BaseMetric):
    """Gives the scores of its list, one for each validation; a name of None gives no metric."""

    default_prefix = "tiny"

    def __init__(self, scores, name="score"):
        super().__init__()
        self.scores, self.name = list(scores), name

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {self.name: self.scores.pop(0)} if self.name else {}


def config(work_dir, hook=None, max_epochs=4, scores=None, ballast=0, **overrides) -> Config:
    """The config of a run.

    Args:
        work_dir: Its folder.
        hook: Arguments of the checkpoint hook; SafeCheckpointHook unless it names a type.
        max_epochs: Its length, of 4 iterations an epoch.
        scores: What its validations give, one after each epoch; None means no validation.
        ballast: Numbers that make the checkpoints larger.
        **overrides: What else the config has.
    """
    checkpoint = dict(type="wavemix_mm.SafeCheckpointHook", interval=1) | (hook or {})
    values = dict(
        model=dict(type="TinyRunNet", ballast=ballast),
        work_dir=str(work_dir),
        experiment_name=f"tiny_{next(_NAMES)}",  # mmengine keeps state by this name
        train_dataloader=_loader("wavemix_mm.StatelessSampler", shuffle=True),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.01)),
        default_hooks=dict(checkpoint=checkpoint),
        custom_hooks=[dict(type="wavemix_mm.StatelessSeedHook")],
        randomness=dict(seed=1),
        default_scope="mmengine",
        log_level="WARNING",
    )
    if scores is not None:
        values["val_dataloader"], values["val_cfg"] = _loader("DefaultSampler", shuffle=False), {}
        values["val_evaluator"] = dict(type="TinyRunScore", scores=scores)
    return Config(values | overrides)


def iteration_based(max_iters, **train_cfg) -> dict:
    """Overrides for `config` with which the run counts iterations."""
    return dict(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=max_iters, **train_cfg),
        train_dataloader=_loader("wavemix_mm.StatelessInfiniteSampler", shuffle=True),
        log_processor=dict(by_epoch=False),
    )


def _loader(sampler, **arguments):
    return dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type="TinyRunData"),
        collate_fn=dict(type="default_collate"),
        sampler=dict(type=sampler, **arguments),
    )


def train(cfg: Config, events=None) -> Runner:
    """Train, or resume as the config says.

    Args:
        cfg: The config.
        events: Functions to call with the runner, by the number of the iteration that has ended.
    """
    runner = Runner.from_cfg(cfg)
    runner.register_hook(_Events(events or {}))
    runner.train()
    return runner


class _Events(Hook):
    priority = "ABOVE_NORMAL"

    def __init__(self, functions):
        self.functions = functions

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.functions.get(runner.iter + 1, id)(runner)


def assert_same_state(a: Runner, b: Runner) -> None:
    """Weights, statistics and optimizer state are equal to the bit."""
    for name, value in a.model.state_dict().items():
        assert torch.equal(value, b.model.state_dict()[name]), name
    first, second = (r.optim_wrapper.optimizer.state_dict() for r in (a, b))
    assert first["param_groups"] == second["param_groups"]
    assert first["state"].keys() == second["state"].keys() and first["state"]
    for index, state in first["state"].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second["state"][index][key]))
