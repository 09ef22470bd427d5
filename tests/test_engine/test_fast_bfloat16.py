"""Whether a CPU is fast in bfloat16."""

from pathlib import Path

import pytest
import torch

from wavemix_mm.apis import optimize
from wavemix_mm.engine.optim_wrappers import is_cpu_fast_in_bfloat16
from wavemix_mm.engine.run.config import load_config
from wavemix_mm.registry import OPTIM_WRAPPERS

ROOT = Path(__file__).resolve().parents[2]

CASES = [
    ("fma avx2", False),
    ("avx2 avx512_vnni", False),
    ("avx2 avx512_bf16", True),
    ("avx2 amx_bf16", True),
    ("neon bf16", False),
]


@pytest.fixture(autouse=True)
def ask_anew():
    is_cpu_fast_in_bfloat16.cache_clear()
    yield
    is_cpu_fast_in_bfloat16.cache_clear()


@pytest.mark.parametrize(("flags", "expected"), CASES)
def test_by_pytorch(flags, expected, monkeypatch):
    known = dict.fromkeys(flags.split(), True) | dict(l2_cache_size=2, cpu_name="amx_bf16")
    known = dict(amx_bf16=False, avx512_bf16=False) | known
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert is_cpu_fast_in_bfloat16() == expected


@pytest.mark.parametrize(("flags", "expected"), CASES)
def test_by_the_kernel_where_pytorch_does_not_say(flags, expected, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    text = f"processor: 0\nmodel name: amx_bf16\nflags\t\t: fpu {flags} sse\n"
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)
    assert is_cpu_fast_in_bfloat16() == expected


@pytest.mark.parametrize("name", ["camvid", "camvid_best", "cityscapes_demo", "mnist_8-10_short"])
def test_configs_and_optimize_choose_float32_without_it(name, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict(avx2=True), raising=False)
    network = torch.nn.Conv2d(3, 4, 1)
    cfg = load_config(f"{ROOT}/configs/wavemix/{name}.py").optim_wrapper
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(cfg, optimizer=optimizer))
    with wrapper.optim_context(network):
        assert network(torch.rand(1, 3, 2, 2)).dtype == torch.float32
    assert optimize(network)(torch.rand(1, 3, 2, 2)).dtype == torch.float32
    assert network.weight.dtype == torch.float32


def test_an_unknown_system(monkeypatch):
    def fail(path, encoding):
        raise FileNotFoundError(path)

    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(Path, "read_text", fail)
    assert not is_cpu_fast_in_bfloat16()
