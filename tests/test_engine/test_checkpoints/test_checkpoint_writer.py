"""What counts as finite."""

import pytest
import torch

from wavemix_mm.engine.checkpoints.writer import find_not_finite

NAN, INF = float("nan"), float("inf")
LARGE = torch.full((99,), 6e4, dtype=torch.float16)  # the sum overflows


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("values", [[NAN], [INF], [-INF], [INF, -INF]], ids=str)
@pytest.mark.parametrize(
    ("part", "name"),
    [("state_dict", "b"), ("ema_state_dict", "b"), ("optimizer", "state.0.b")],
)
def test_one_value_among_many(dtype, values, part, name):
    tensors = dict(a=torch.ones(3, dtype=dtype), b=torch.ones(3, 50, dtype=dtype))
    tensors |= dict(c=torch.tensor([1, 2]), d=torch.zeros(0), e=torch.tensor(True), f=LARGE)
    checkpoint = dict(meta=dict(nan=NAN), state_dict=tensors, ema_state_dict=tensors)
    checkpoint["optimizer"] = dict(state={0: tensors}, param_groups=[dict(lr=0.1)])
    assert find_not_finite(checkpoint) is None
    assert find_not_finite(dict(meta={})) is None
    bad = tensors | dict(b=tensors["b"].clone())
    bad["b"][1, 7 : 7 + len(values)] = torch.tensor(values, dtype=dtype)
    checkpoint[part] = dict(state={0: bad}) if part == "optimizer" else bad
    assert find_not_finite(checkpoint) == f"{part}.{name}"
