"""Tracing, exporting and compiling the network, plain and folded, at sizes of any parity."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from wavemix_mm.models.backbones.wavemix import WaveMix

STEMS = {
    "patch": dict(type="wavemix_mm.PatchStem"),
    "strided": dict(type="wavemix_mm.StridedStem"),
}
# batch, height, width; the first is the example
SIZES = [(2, 96, 128), (1, 64, 64), (3, 101, 77), (1, 37, 47)]
DYNAMIC = torch.export.Dim.DYNAMIC


class _Maps(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)[-1]


@pytest.fixture(params=[("patch", False), ("strided", True)], ids=["patch", "strided-folded"])
def network(request, randomize_norms):
    """The last map of a network: each stem and each kind of block once."""
    stem, is_folded = request.param
    net = WaveMix(embed_dims=8, depth=1, levels=2, stem=STEMS[stem])
    randomize_norms(net)
    net.eval()
    if is_folded:
        net.switch_to_deploy()
    return _Maps(net)


def assert_equal(network, other, sizes=SIZES):
    for batch, *sides in sizes:
        x = torch.randn(batch, 3, *sides)
        expected = network(x)
        assert (other(x) - expected).abs().max() <= 1e-5 * expected.abs().max(), sides


@pytest.mark.parametrize("grad", [False, True])
def test_jit_trace(network, grad):
    example = torch.randn(2, 3, 96, 128)
    with torch.set_grad_enabled(grad), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, example)
    with torch.no_grad():
        assert_equal(network, traced)


def test_export_and_onnx_with_dynamic_batch_and_sides(network, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    example = torch.randn(2, 3, 96, 128)
    shapes = ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    program = torch.export.export(network, (example,), dynamic_shapes=shapes)
    assert_equal(network, program.module())
    file = tmp_path / "network.onnx"
    torch.onnx.export(program, f=file, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file)
    name = session.get_inputs()[0].name

    def run(x):
        return torch.from_numpy(np.asarray(session.run(None, {name: x.numpy()})[0]))

    with torch.no_grad():
        assert_equal(network, run)


def test_fx_trace_and_feature_extraction(network):
    assert_equal(network, torch.fx.symbolic_trace(network))
    net = network.network
    features = create_feature_extractor(net, {"stem": "stem", "blocks.0": "block"})
    net.eval()
    features.eval()
    x = torch.randn(2, 3, 37, 50)
    got = features(x)
    torch.testing.assert_close(got["stem"], net.stem(x))
    torch.testing.assert_close(got["block"], net(x)[0])


def test_compile_serves_several_sizes(network):
    """Sides never become symbols, at which Inductor fails; the batch may."""
    shapes = []

    def backend(graph, inputs):
        shapes.extend(value.shape for value in inputs if getattr(value, "ndim", 0) == 4)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(network, backend=backend)
    with torch.no_grad():
        assert_equal(network, compiled, SIZES)
    assert {height for _, height, _ in SIZES} <= {side for shape in shapes for side in shape[2:]}
    assert all(isinstance(side, int) for shape in shapes for side in shape[2:])


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_built_on_meta_and_filled_by_assignment(wavelet):
    mixer = dict(type="wavemix_mm.DWTMixer", wavelet=wavelet)
    kwargs = dict(embed_dims=8, depth=2, token_mixer=mixer, upsample="idwt", ff_channels=32)
    net = WaveMix(levels=2, **kwargs).eval()
    with torch.device("meta"):
        lazy = WaveMix(levels=2, **kwargs).eval()
    lazy.load_state_dict(net.state_dict(), strict=True, assign=True)
    x = torch.randn(1, 3, 20, 28)
    assert torch.equal(lazy(x)[0], net(x)[0])


@pytest.mark.parametrize("stem", STEMS)
def test_fast_or_not_is_equal(stem):
    plain = WaveMix(embed_dims=8, depth=2, levels=2, dropout=0.0, stem=STEMS[stem], fast=False)
    fast = WaveMix(embed_dims=8, depth=2, levels=2, dropout=0.0, stem=STEMS[stem])
    plain, fast = plain.double(), fast.double()
    fast.load_state_dict(plain.state_dict(), strict=True)
    own = "wavemix_mm.models.fast"
    assert not any(type(module).__module__.startswith(own) for module in plain.modules())
    images = torch.randn(2, 3, 23, 29, dtype=torch.float64)
    grads = []
    for net in (plain, fast):
        out = net(images)[0]
        out.square().sum().backward()
        grads.append([out, *(parameter.grad for parameter in net.parameters())])
    for a, b in zip(*grads, strict=True):
        assert (a - b).norm() <= 1e-9 * a.norm().clamp(min=1)


def test_norm_eval():
    net = WaveMix(embed_dims=8, depth=1, norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms) and net.blocks[0].training
    before = copy.deepcopy(net.state_dict())
    net(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert all(norm.weight.requires_grad for norm in norms)
