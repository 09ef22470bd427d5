"""bfloat16 autocast, on CPUs that are fast in it."""

from pathlib import Path

import pytest
import torch
from mmengine.device import get_device
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope
from torch import nn

from wavemix_mm.apis import optimize
from wavemix_mm.engine import optim_wrappers
from wavemix_mm.engine.optim_wrappers import BFloat16OptimWrapper, is_cpu_fast_in_bfloat16
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.errors import UserInputError


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


@pytest.mark.parametrize("name", ["camvid", "camvid_best", "cityscapes_demo", "mnist_8-10_short"])
def test_configs_and_optimize_choose_float32_without_it(name, monkeypatch, request):
    monkeypatch.setattr(optim_wrappers, "is_cpu_fast_in_bfloat16", is_cpu_fast_in_bfloat16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict(avx2=True), raising=False)
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


CASES = [
    ("fma avx2", False),
    ("avx2 avx512_vnni", False),
    ("avx2 avx512_bf16", True),
    ("avx2 amx_bf16", True),
    ("neon bf16", False),
]


@pytest.fixture
def is_cpu_fast():
    """The function itself, which is asked anew."""
    is_cpu_fast_in_bfloat16.cache_clear()
    yield is_cpu_fast_in_bfloat16
    is_cpu_fast_in_bfloat16.cache_clear()


@pytest.mark.parametrize(("flags", "expected"), CASES)
def test_by_pytorch(flags, expected, monkeypatch, is_cpu_fast):
    known = dict.fromkeys(flags.split(), True) | dict(l2_cache_size=2, cpu_name="amx_bf16")
    known = dict(amx_bf16=False, avx512_bf16=False) | known
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert is_cpu_fast() == expected


@pytest.mark.parametrize(("flags", "expected"), CASES)
def test_by_the_kernel_where_pytorch_does_not_say(flags, expected, monkeypatch, is_cpu_fast):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    text = f"processor: 0\nmodel name: amx_bf16\nflags\t\t: fpu {flags} sse\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    assert is_cpu_fast() == expected


def test_an_unknown_system(monkeypatch, is_cpu_fast):
    def fail(path, encoding):
        raise FileNotFoundError(path)

    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(Path, "read_text", fail)
    assert not is_cpu_fast()
