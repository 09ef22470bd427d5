"""Where in its schedule a run stands."""

from types import SimpleNamespace

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from wavemix_mm.engine.exact.progress import is_step_done


def test_step_of_several_optimizers():
    wrappers = [OptimWrapper(torch.optim.SGD([torch.ones(1)], lr=0.1)) for _ in range(2)]
    both = OptimWrapperDict(a=wrappers[0], b=wrappers[1])
    assert is_step_done(SimpleNamespace(optim_wrapper=both))
    wrappers[1]._accumulative_counts, wrappers[1]._inner_count, wrappers[1]._max_counts = 2, 1, 4
    assert not is_step_done(SimpleNamespace(optim_wrapper=both))
