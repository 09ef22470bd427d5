"""The contract of all token mixers, and what each of them computes."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.wavemix import WaveMix, WaveMixBlock
from wavemix_mm.models.fast.haar_concat import use_haar_kernel
from wavemix_mm.models.fast.optimize import optimize
from wavemix_mm.models.layers import DFTMixer, DWT2d, LiftingMixer, MaxPoolMixer, RandomFilterMixer

# type -> (stride, expansion)
MIXERS = {
    "DWTMixer": (2, 4),
    "RandomFilterMixer": (2, 4),
    "LiftingMixer": (2, 4),
    "MaxPoolMixer": (2, 1),
    "DFTMixer": (1, 1),
    "IdentityMixer": (1, 1),
}
OTHERS = [*MIXERS][1:]  # the DWT has tests of its own
DYNAMIC = torch.export.Dim.DYNAMIC


def build(kind, **kwargs):
    return MODELS.build(dict(type=f"wavemix_mm.{kind}", **kwargs))


def unlike_haar(mixer):
    """Give a lifting mixer other filters than Haar's, and return it."""
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    return mixer


@pytest.fixture(params=MIXERS)
def kind(request):
    return request.param


@pytest.fixture
def make_network(kind, randomize_norms):
    """Builds a network with each mixer, as after some training."""

    def make():
        mixer = dict(type=f"wavemix_mm.{kind}")
        net = WaveMix(embed_dims=8, depth=1, levels=2, token_mixer=mixer)
        randomize_norms(net)
        for module in net.modules():
            if isinstance(module, LiftingMixer):
                unlike_haar(module)
        return net.eval()

    return make


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_contract(kind, size, dtype):
    stride, expansion = MIXERS[kind]
    mixer = build(kind).to(dtype)
    x = torch.randn(2, 3, *size, dtype=dtype)
    mixed, following = mixer(x)
    sides = [math.ceil(side / stride) for side in size]
    assert mixed.shape == (2, 3 * expansion, *sides) and following.shape == (2, 3, *sides)
    assert mixed.dtype == dtype and torch.equal(following, mixed[:, :3])
    assert (mixer.stride, mixer.expansion) == (stride, expansion)
    # the first channels are each channel's own, the input of the next level
    torch.testing.assert_close(mixed[:, 1:2], mixer(x[:, 1:2])[0][:, :1])
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(mixer(channels_last)[0], mixed)
    with torch.autocast("cpu", torch.bfloat16):
        cast = build(kind)(x.float() if dtype == torch.bfloat16 else x)[0]
    assert cast.shape == mixed.shape and cast.isfinite().all()


def test_the_wavelet_of_the_dwt_mixer():
    x = torch.randn(1, 2, 8, 6)
    assert torch.equal(build("DWTMixer", wavelet="db4")(x)[0], DWT2d("db4")(x))


def test_gradients(kind):
    mixer = unlike_haar(build(kind)).double()
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *parameters: mixer(x), (x, *mixer.parameters()))


@pytest.mark.parametrize("upsample", ["deconv", "idwt", "bilinear", "bicubic"])
@pytest.mark.parametrize("levels", [2, (3,), (1, 3)])
def test_block_keeps_the_size(kind, levels, upsample):
    mixer = dict(type=f"wavemix_mm.{kind}")
    block = WaveMixBlock(16, levels, ff_channels=64, token_mixer=mixer, upsample=upsample)
    for size in ((16, 8), (7, 9), (1, 1)):
        assert block(torch.randn(2, 16, *size)).shape == (2, 16, *size)
    stride, expansion = MIXERS[kind]
    assert block.reduction.out_channels == 16 // expansion
    assert block.paths[-1].expand.in_channels == 16  # the MLP is as wide with every mixer
    has_upsampling = any(
        isinstance(module, nn.ConvTranspose2d | nn.Upsample) or hasattr(module, "wavelet")
        for module in block.paths.modules()
    )
    assert has_upsampling == (stride > 1)


def test_state_dict(make_network):
    """All that a mixer needs is in the state dict, also after a build on the device "meta"."""
    net = make_network()
    x = torch.randn(2, 3, 37, 50)
    expected = net(x)[0]
    other = make_network()
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other(x)[0], expected)
    with torch.device("meta"):
        meta = make_network()
    meta.load_state_dict(net.state_dict(), strict=True, assign=True)
    assert torch.equal(meta(x)[0], expected)


@pytest.mark.parametrize("kind", OTHERS, indirect=True)
def test_fast_ways(make_network):
    """Folded, traced by torch.fx, exported with dynamic sides or in bfloat16, the output stays."""
    net = make_network()
    half = optimize(copy.deepcopy(net), dtype=torch.bfloat16, compile=False)
    use_haar_kernel(fast := copy.deepcopy(net))
    images = [torch.randn(1, 3, *size) for size in ((64, 96), (37, 53))]
    expected = [net(x)[0] for x in images]
    net.switch_to_deploy()
    shapes = ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    program = torch.export.export(net, (torch.randn(2, 3, 64, 96),), dynamic_shapes=shapes)
    for run in (net, fast, torch.fx.symbolic_trace(net), program.module()):
        for x, out in zip(images, expected, strict=True):
            assert (run(x)[0] - out).abs().max() <= 1e-5 * out.abs().max()
    for x, out in zip(images, expected, strict=True):
        assert (half(x)[0] - out).abs().max() <= 5e-2 * out.abs().max()


@pytest.mark.parametrize("kind", OTHERS[:-1], indirect=True)
def test_onnx_with_dynamic_sides(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    mixer, file = unlike_haar(build(kind)).eval(), str(tmp_path / "mixer.onnx")
    shapes = ({0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC},)
    example = (torch.randn(2, 3, 16, 24),)
    torch.onnx.export(mixer, example, file, dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = onnxruntime.InferenceSession(file)
    x = torch.randn(1, 3, 7, 13)
    outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    expected = mixer(x)
    torch.testing.assert_close([torch.from_numpy(out) for out in outputs[:1]], [expected[0]])


def test_random_filters():
    mixer = RandomFilterMixer(seed=3)
    assert torch.equal(mixer.filters, RandomFilterMixer(seed=3).filters)
    assert not torch.equal(mixer.filters, RandomFilterMixer().filters)
    torch.testing.assert_close(mixer.filters.norm(dim=1), torch.ones(4))
    assert not list(mixer.parameters()) and list(mixer.state_dict()) == ["filters"]
    x = torch.randn(1, 2, 6, 4)
    bands = F.conv2d(x, mixer.filters.view(4, 1, 2, 2).repeat(2, 1, 1, 1), stride=2, groups=2)
    order = [0, 4, 1, 2, 3, 5, 6, 7]  # the approximations of both channels, then details
    torch.testing.assert_close(mixer(x)[0], bands[:, order])


@pytest.mark.parametrize("taps", [1, 3, 5])
def test_lifting_starts_at_haar_and_stays_invertible_in_training(taps):
    mixer = LiftingMixer(taps).double()
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(mixer(x)[0], DWT2d()(x), rtol=0, atol=1e-14)
    odd = x[..., :7, :5]
    torch.testing.assert_close(mixer(odd)[0], DWT2d()(odd), rtol=0, atol=1e-14)

    optimizer = torch.optim.AdamW(mixer.parameters(), lr=0.1)
    before = [p.detach().clone() for p in mixer.parameters()]
    for _ in range(5):
        optimizer.zero_grad()
        mixer(x)[0].abs().sum().backward()
        optimizer.step()
    assert all((p != b).all() for p, b in zip(mixer.parameters(), before, strict=True))
    torch.testing.assert_close(mixer.inverse(mixer(x)[0]), x, rtol=0, atol=1e-12)
    back = mixer.inverse(mixer(odd)[0])
    torch.testing.assert_close(back, F.pad(odd, (0, 1, 0, 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", [0, 2, -1])
def test_taps_that_are_not_odd(taps):
    with pytest.raises(UserInputError, match=f"taps={taps} "):
        LiftingMixer(taps)


def test_max_pooling_of_odd_sides_by_hand():
    x = torch.tensor([[[[1.0, 2.0, -5.0], [3.0, 8.0, -6.0], [-1.0, -2.0, -9.0]]]])
    assert MaxPoolMixer()(x)[0].tolist() == [[[[8.0, -5.0], [-1.0, -9.0]]]]


def test_dft_by_its_definition():
    x = torch.randn(4, 6, dtype=torch.float64)
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in x.shape)
    angles = [-2 * math.pi * torch.outer(k, k) / len(k) for k in (rows, columns)]
    left, right = (torch.polar(torch.ones_like(angle), angle) for angle in angles)
    expected = (left @ x.to(torch.complex128) @ right).real / math.sqrt(x.numel())
    torch.testing.assert_close(DFTMixer()(x[None, None])[0][0, 0], expected)
