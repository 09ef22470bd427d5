"""wavemix_mm/models/fast/haar_concat.py and the Triton kernel, by Triton's interpreter."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.fast.haar_concat import HaarConcat, use_haar_kernel
from wavemix_mm.models.layers.wavelet import haar_dwt2d

SHAPES = [(2, 3, 6, 8), (1, 70, 5, 3), (1, 4, 1, 1), (2, 16, 9, 4)]


def check_kernel():
    """Compare the kernel with PyTorch, forward and backward; in a process with the interpreter."""
    from wavemix_mm.models.fast.haar_kernel import haar_concat

    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)):
        for shape in SHAPES:
            for beside in (0, 1, 90):
                x = torch.randn(shape, dtype=dtype, requires_grad=True)
                sides = [-(-side // 2) for side in shape[2:]]
                maps = [x]
                if beside:
                    maps += [torch.randn(shape[0], beside, *sides, dtype=dtype, requires_grad=True)]
                actual = haar_concat(x, maps[1] if beside else None)
                expected = torch.cat((haar_dwt2d(x), *maps[1:]), 1)
                grad = torch.randn_like(expected)
                pairs = [(actual, expected)]
                results = (torch.autograd.grad(y, maps, grad) for y in (actual, expected))
                pairs += zip(*results, strict=True)
                for a, b in pairs:
                    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
                    assert a.is_contiguous(memory_format=torch.channels_last)


def test_the_kernel_equals_pytorch():
    environment = os.environ | dict(TRITON_INTERPRET="1")
    code = "import test_haar_concat; test_haar_concat.check_kernel()"
    subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, check=True
    )


@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
def test_a_network_computes_the_same(size):
    plain = WaveMix(embed_dims=8, depth=2, levels=(1, 3), dropout=0.0).double()
    network = copy.deepcopy(plain)
    use_haar_kernel(network)
    assert len([m for m in network.modules() if isinstance(m, HaarConcat)]) == 4
    assert network.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    outputs = [each(x)[0] for each in (network, plain)]
    torch.testing.assert_close(*outputs)
    grads = [
        torch.autograd.grad(output.square().sum(), list(each.parameters()))
        for output, each in zip(outputs, (network, plain), strict=True)
    ]
    for actual, expected in zip(*grads, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_on_a_gpu(monkeypatch):
    with torch.device("cuda"):
        check_kernel()
    plain = WaveMix(embed_dims=64, depth=2, levels=2, dropout=0.0).cuda()
    network = copy.deepcopy(plain)
    use_haar_kernel(network)
    x = torch.rand(2, 3, 37, 51, device="cuda")
    for run in (network, torch.compile(network, dynamic=False, fullgraph=True)):
        with torch.autocast("cuda", torch.bfloat16):
            actual, expected = run(x)[0], plain(x)[0]
        torch.testing.assert_close(actual, expected, rtol=2e-2, atol=2e-2)
        for each, output in ((network, actual), (plain, expected)):
            each.zero_grad()
            output.float().square().mean().backward()
        for a, b in zip(network.parameters(), plain.parameters(), strict=True):
            assert (a.grad - b.grad).abs().max() <= 0.1 * b.grad.abs().max() + 1e-4
