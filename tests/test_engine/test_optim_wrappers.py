import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope
from torch import nn

from wavemix_mm.engine import optim_wrappers
from wavemix_mm.engine.optim_wrappers import BFloat16OptimWrapper


def _wrapper(model, **kwargs):
    return BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_is_found_in_the_registry(scope):
    init_default_scope(scope)
    assert OPTIM_WRAPPERS.get("wavemix_mm.BFloat16OptimWrapper") is BFloat16OptimWrapper


@pytest.fixture(autouse=True)
def processor_with_bfloat16(monkeypatch):
    """The same tests on every processor."""
    monkeypatch.setattr(optim_wrappers, "is_cpu_fast_in_bfloat16", lambda: True)


def test_forward_pass_runs_in_bfloat16_and_weights_stay_float32():
    device = get_device()
    model = nn.Linear(4, 3).to(device)
    wrapper = _wrapper(model)
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4, device=device))
        assert out.dtype == torch.bfloat16
    assert not torch.is_autocast_enabled(device)
    wrapper.update_params(out.float().square().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(before, model.weight)


@pytest.mark.skipif(get_device() != "cpu", reason="is about the CPU")
def test_a_cpu_without_fast_bfloat16_trains_in_float32_and_one_warning_says_so(monkeypatch, capsys):
    monkeypatch.setattr(optim_wrappers, "is_cpu_fast_in_bfloat16", lambda: False)
    optim_wrappers._warn_of_float32.cache_clear()
    model = nn.Linear(4, 3)
    wrapper, _ = _wrapper(model), _wrapper(model)  # SwitchOptimizerHook makes another
    with wrapper.optim_context(model):
        assert model(torch.randn(2, 4)).dtype == torch.float32
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: this CPU has no fast bfloat16")


def test_autocast_ends_with_an_error():
    model = nn.Linear(4, 3)
    with pytest.raises(RuntimeError, match="inside"), _wrapper(model).optim_context(model):
        raise RuntimeError("inside")
    assert not torch.is_autocast_enabled("cpu")


def test_accumulates_gradients():
    model = nn.Linear(4, 3)
    wrapper = _wrapper(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.detach().clone()
    for changed in (False, True):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 4)).float().square().mean()
        wrapper.update_params(loss)
        assert torch.equal(before, model.weight) != changed


def test_is_close_to_float32():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 1))
    x = torch.randn(4, 8)
    with _wrapper(model).optim_context(model):
        got = model(x)
    torch.testing.assert_close(got.float(), model(x), rtol=3e-2, atol=3e-2)
