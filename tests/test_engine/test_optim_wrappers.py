"""bfloat16 autocast, on CPUs that are fast in it."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from wavemix_mm.apis import optimize
from wavemix_mm.engine import optim_wrappers
from wavemix_mm.engine.optim_wrappers import BFloat16OptimWrapper, is_cpu_fast_in_bfloat16
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.errors import UserInputError


def _wrapper(model, **kwargs):
    return BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


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
    optim_wrappers._warn_once.cache_clear()
    model = nn.Linear(4, 3)
    wrapper, _ = _wrapper(model), _wrapper(model)  # SwitchOptimizerHook makes another
    with wrapper.optim_context(model):
        assert model(torch.randn(2, 4)).dtype == torch.float32
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: this CPU has no fast bfloat16")


@pytest.mark.parametrize("name", ["camvid", "camvid_64-6", "cityscapes_demo", "mnist_8-10_short"])
def test_configs_and_optimize_choose_float32_without_it(name, monkeypatch, request):
    monkeypatch.setattr(optim_wrappers, "is_cpu_fast_in_bfloat16", is_cpu_fast_in_bfloat16)
    monkeypatch.setattr(optim_wrappers, "_BFLOAT16_FLAGS", set())
    is_cpu_fast_in_bfloat16.cache_clear()
    request.addfinalizer(is_cpu_fast_in_bfloat16.cache_clear)
    network = nn.Conv2d(3, 4, 1)
    cfg = load_config(f"configs/wavemix/{name}.py").optim_wrapper
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(cfg, optimizer=optimizer))
    with wrapper.optim_context(network):
        assert network(torch.rand(1, 3, 2, 2)).dtype == torch.float32
    assert optimize(network)(torch.rand(1, 3, 2, 2)).dtype == torch.float32
    assert network.weight.dtype == torch.float32


def test_gradients_are_not_reduced_over_processes_while_they_accumulate():
    model = nn.Linear(4, 3)
    model.no_sync = mock.MagicMock()  # as of DistributedDataParallel
    wrapper = _wrapper(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    with wrapper.optim_context(model):
        model.no_sync.assert_called_once_with()


@pytest.mark.parametrize(
    ("device", "config", "expected"),
    [
        ("cuda", dict(type="mmengine.OptimWrapper"), dict(type="wavemix_mm.BFloat16OptimWrapper")),
        ("old cuda", {}, dict(loss_scale="dynamic")),
        ("cpu", {}, dict(loss_scale="dynamic")),
        # what the config says wins
        ("cuda", dict(dtype="float16"), dict(loss_scale="dynamic", dtype="float16")),
        ("cuda", dict(type="AmpOptimWrapper"), dict(loss_scale="dynamic")),
        ("cuda", dict(loss_scale=512.0), dict(loss_scale=512.0)),
    ],
)
def test_mixed_precision(monkeypatch, device, config, expected):
    monkeypatch.setattr(optim_wrappers, "get_device", lambda: device.split()[-1])
    has_bfloat16 = device == "cuda"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    config = dict(type="OptimWrapper") | config
    optim_wrappers.set_mixed_precision(config)
    assert config == dict(type="AmpOptimWrapper") | expected


def test_mixed_precision_of_another_wrapper():
    with pytest.raises(UserInputError, match="--amp does not go with optim_wrapper.type=BFloat16"):
        optim_wrappers.set_mixed_precision(dict(type="wavemix_mm.BFloat16OptimWrapper"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fma avx2", False),
        ("avx2 avx512_vnni", False),
        ("avx2 avx512_bf16", True),
        ("avx2 amx_bf16", True),
        ("neon bf16", False),
        (None, False),  # an unknown system
    ],
)
def test_cpus(flags, expected, monkeypatch):
    def read(path, encoding):
        if flags is None:
            raise FileNotFoundError(path)
        return f"processor: 0\nmodel name: amx_bf16\nflags\t\t: fpu {flags} sse\n"

    is_cpu_fast_in_bfloat16.cache_clear()
    monkeypatch.setattr(Path, "read_text", read)
    assert is_cpu_fast_in_bfloat16() == expected
    is_cpu_fast_in_bfloat16.cache_clear()
