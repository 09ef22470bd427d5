"""Divide a model over the processes of FlexibleRunner."""

from __future__ import annotations

from typing import Any

from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from wavemix_mm.engine.checkpoints.fit import unwrap
from wavemix_mm.engine.parallel.distributed import ACCELERATORS
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import STRATEGIES

# mmengine's "full" without its offload to the CPU: PyTorch crashes if the tensors are there already
_FULL_ON_CPU = dict(
    state_dict_type="FULL_STATE_DICT",
    state_dict_config=dict(type="FullStateDictConfig", rank0_only=True),
    optim_state_dict_config=dict(
        type="FullOptimStateDictConfig", rank0_only=True, offload_to_cpu=False
    ),
)


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """mmengine's strategy for FullyShardedDataParallel, with four differences.

    - It runs on a CPU too.
    - It resumes. mmengine passes the optimizer and its state in the argument order of former
      versions of PyTorch.
    - ``clip_grad`` takes the norm of the whole gradient, not of the part in one process.
    - A checkpoint is always one file, with the same weights as in a run of one process.

    Args:
        model_wrapper: Arguments of MMFullyShardedDataParallel, such as ``auto_wrap_policy``.
        **kwargs: Arguments of mmengine's strategy, except ``state_dict_cfg``.

    Example:
        >>> runner_type = 'FlexibleRunner'
        >>> strategy = dict(type='wavemix_mm.FSDPStrategy')
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs: Any) -> None:
        state_dict_cfg: Any = "full"
        if get_device() not in ACCELERATORS:
            model_wrapper = dict(model_wrapper or {}, device_id="cpu")
            state_dict_cfg = _FULL_ON_CPU
        super().__init__(model_wrapper=model_wrapper, state_dict_cfg=state_dict_cfg, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """Build the optimizer wrapper. It clips by the norm of the whole gradient.

        Raises:
            UserInputError: If there are several optimizers, or if a built optimizer has a state or
                does not fit the model.
        """
        if isinstance(optim_wrapper, Optimizer):
            optim_wrapper = OptimWrapper(optim_wrapper)
        # mmengine passes a built optimizer to PyTorch in the order of arguments of former versions
        is_built = isinstance(optim_wrapper, BaseOptimWrapper)
        built = optim_wrapper if is_built else super().build_optim_wrapper(optim_wrapper, model)
        if isinstance(built, OptimWrapperDict):
            raise UserInputError("FSDPStrategy takes a single optimizer.")
        self._take_parts(built.optimizer, model)
        if isinstance(built, OptimWrapper) and getattr(built, "clip_func", None) is clip_grad_norm_:
            built.clip_func = lambda _, **kwargs: model.clip_grad_norm_(**kwargs)
        return built

    def _take_parts(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Give the parts of the divided model to an optimizer that was built before."""
        parts = {_whole_name(name): part for name, part in model.named_parameters()}
        known = set(map(id, parts.values()))
        groups = optimizer.param_groups
        if all(id(p) in known for group in groups for p in group["params"]):
            return
        names = [[self.id_to_name.get(id(p)) for p in group["params"]] for group in groups]
        if optimizer.state or any(name not in parts for group in names for name in group):
            raise UserInputError(
                f"FSDPStrategy cannot divide a built {type(optimizer).__name__}: it must have no "
                "state, its parameters must be those of the model, and model_wrapper must have "
                "use_orig_params=True. Or give the optimizer's config."
            )
        for group, part in zip(groups, names, strict=True):
            group["params"] = [parts[name] for name in part]

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer state of a checkpoint."""
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
            )
        )


def load_weights(runner: Runner, state_dict: dict) -> None:
    """Load weights into the model of a runner, which a strategy may have divided."""
    if strategy := getattr(runner, "strategy", None):
        strategy.load_model_state_dict(state_dict, strict=True)
    else:
        unwrap(runner.model).load_state_dict(state_dict)


def load_optimizer(runner: Runner, state_dict: dict) -> None:
    """Load the state of a runner's optimizer, which a strategy may have divided."""
    if strategy := getattr(runner, "strategy", None):
        strategy.load_optim_state_dict(state_dict)
    else:
        runner.optim_wrapper.load_state_dict(state_dict)


def _whole_name(name: str) -> str:
    """Remove the insertions of FSDP and activation checkpointing from a parameter's name."""
    for part in ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module."):
        name = name.replace(part, "")
    return name
