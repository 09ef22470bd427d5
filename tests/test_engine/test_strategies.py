"""How a model is divided; test_distributed_training.py trains with the strategy."""

import pytest
from torch import nn
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

from wavemix_mm.engine.strategies import FSDPStrategy
from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.wavemix import PatchStem, StridedStem

NAME = "torch.distributed.fsdp.wrap.size_based_auto_wrap_policy"


@pytest.mark.parametrize(
    "policy", [NAME, dict(type=NAME, min_num_params=10), size_based_auto_wrap_policy]
)
def test_stems_are_not_divided(policy):
    strategy = FSDPStrategy(model_wrapper=dict(auto_wrap_policy=policy))
    divide = strategy.model_wrapper["auto_wrap_policy"]
    large = dict(recurse=True, nonwrapped_numel=10**9)
    for stem in (PatchStem(3, 8), StridedStem(3, 8)):
        assert not divide(module=stem, **large)
        assert divide(module=nn.Sequential(stem), **large)


@pytest.mark.parametrize(
    "policy", ["size_based", dict(type="torch.no.such"), dict(min_num_params=10), 3]
)
def test_unknown_policy(policy):
    with pytest.raises(UserInputError, match="auto_wrap_policy .* names no function"):
        FSDPStrategy(model_wrapper=dict(auto_wrap_policy=policy))
