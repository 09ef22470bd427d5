"""Tell where in its schedule a run stands."""

from __future__ import annotations

import bisect

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner


def is_step_done(runner: Runner) -> bool:
    """Return whether no gradients are accumulated, which a checkpoint would not hold."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return all(w.should_update() for w in wrappers if isinstance(w, OptimWrapper))


def is_validation_due(runner: Runner) -> bool:
    """Return whether the loop would validate after what it has done so far."""
    loop = runner.train_loop
    if runner.val_loop is None or not isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
        return False
    epoch_based = isinstance(loop, EpochBasedTrainLoop)
    done, end = (loop.epoch, loop.max_epochs) if epoch_based else (loop.iter, loop.max_iters)
    # as the loop does
    interval = loop.dynamic_intervals[bisect.bisect(loop.dynamic_milestones, done + 1) - 1]
    return done >= loop.val_begin and (done % interval == 0 or done == end)
