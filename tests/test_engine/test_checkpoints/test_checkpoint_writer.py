"""What counts as finite."""

import pytest
import torch

from wavemix_mm.engine.checkpoints.writer import find_not_finite

NAN, INF = float("nan"), float("inf")


def checkpoint(state_dict=(), ema=(), optimizer=()):
    states = dict(optimizer)
    return dict(
        meta=dict(nan=NAN),
        state_dict=dict(state_dict),
        ema_state_dict=dict(ema),
        optimizer=dict(state={0: states}, param_groups=[dict(lr=0.1)]),
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_value_among_many(dtype, value):
    tensor = torch.ones(3, 50, dtype=dtype)
    assert find_not_finite(checkpoint(dict(a=tensor), dict(a=tensor), dict(b=tensor))) is None
    bad = tensor.clone()
    bad[1, 7] = value
    assert find_not_finite(checkpoint(dict(a=tensor, b=bad))) == "state_dict.b"
    assert find_not_finite(checkpoint(dict(a=tensor), dict(a=bad))) == "ema_state_dict.a"
    assert find_not_finite(checkpoint({}, {}, dict(avg=bad))) == "optimizer.state.0.avg"


def test_large_values_whose_sum_overflows_are_finite():
    tensor = torch.full((99,), 6e4, dtype=torch.float16)
    assert tensor.sum().isinf()
    assert find_not_finite(checkpoint(dict(a=tensor))) is None


def test_infinities_that_cancel_are_found():
    assert find_not_finite(checkpoint(dict(a=torch.tensor([INF, -INF])))) == "state_dict.a"


def test_what_has_no_numbers():
    parts = dict(a=torch.tensor([1, 2]), b=torch.zeros(0), c=torch.tensor(True))
    assert find_not_finite(checkpoint(parts)) is None
    assert find_not_finite(dict(meta={})) is None
