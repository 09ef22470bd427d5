"""The wavelet transform against PyWavelets, pytorch-wavelets and examples worked by hand."""

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F
from pytorch_wavelets import DWTForward, DWTInverse

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.wavelet import DWT2d, IDWT2d

TABLE_13 = [
    *("haar", "db2", "db3", "db4", "db5", "bior1.3", "bior1.5", "rbio1.3", "coif1", "coif2"),
    *("sym2", "sym3"),
]
SIZES = [(8, 12), (16, 10), (2, 2), (7, 5), (8, 5), (1, 1), (1, 6), (9, 1), (9, 4), (4, 9)]


def _mode(wavelet):
    return "zero" if wavelet == "haar" else "periodization"


def _pywt_bands(x, wavelet):
    """(N, C, H, W) -> (N, 4C, h, w) in our order."""
    ll, details = pywt.dwt2(x.numpy(), wavelet, mode=_mode(wavelet), axes=(-2, -1))
    details = np.stack(details, axis=2).reshape(x.shape[0], -1, *ll.shape[-2:])
    return torch.from_numpy(np.concatenate((ll, details), axis=1))


@pytest.mark.parametrize("wavelet", pywt.wavelist(kind="discrete"))
def test_equals_pywavelets(wavelet):
    transform, inverse = DWT2d(wavelet).double(), IDWT2d(wavelet).double()
    # dmey is the truncation of a filter without end, and does not reconstruct exactly
    tolerance = 5e-2 if wavelet == "dmey" else 1e-9
    for height, width in SIZES if wavelet in TABLE_13 else [(6, 6)]:
        x = torch.randn(2, 3, height, width, dtype=torch.float64)
        bands = transform(x)
        torch.testing.assert_close(bands, _pywt_bands(x, wavelet), rtol=0, atol=1e-10)
        # an odd side is extended by zeros or by its last sample, and comes back extended
        mode = "constant" if wavelet == "haar" else "replicate"
        x = F.pad(x, (0, width % 2, 0, height % 2), mode=mode)
        torch.testing.assert_close(inverse(bands), x, rtol=0, atol=tolerance)


# Its periodization wraps around once only: it is right where a side, made even, is not shorter than
# the filter. Shorter sides are compared with PyWavelets above.
@pytest.mark.parametrize(
    "wavelet, size", [("haar", (7, 5)), ("haar", (1, 6)), ("db4", (16, 10)), ("bior1.3", (7, 9))]
)
def test_equals_pytorch_wavelets(wavelet, size):
    x = torch.randn(2, 3, *size)
    low, (high,) = DWTForward(J=1, wave=wavelet, mode=_mode(wavelet))(x)
    bands = torch.cat((low, high.flatten(1, 2)), dim=1)
    torch.testing.assert_close(DWT2d(wavelet)(x), bands, rtol=0, atol=2e-6)
    expected = DWTInverse(wave=wavelet, mode=_mode(wavelet))((low, [high]))
    torch.testing.assert_close(IDWT2d(wavelet)(bands), expected, rtol=0, atol=2e-6)


def test_four_by_four_by_hand():
    x = torch.tensor(
        [
            [1.0, 2.0, 0.0, 4.0],
            [3.0, 8.0, 2.0, 2.0],
            [5.0, 5.0, 1.0, 0.0],
            [5.0, 5.0, 0.0, 0.0],
        ]
    )
    ll = [[7.0, 4.0], [10.0, 0.5]]
    lh = [[-4.0, 0.0], [0.0, 0.5]]
    hl = [[-3.0, -2.0], [0.0, 0.5]]
    hh = [[2.0, -2.0], [0.0, 0.5]]
    assert torch.equal(DWT2d()(x[None, None])[0], torch.tensor([ll, lh, hl, hh]))
    assert torch.equal(IDWT2d()(torch.tensor([[ll, lh, hl, hh]]))[0, 0], x)


@pytest.mark.parametrize("size", [(3, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("wavelet", ["haar", "db2", "bior1.3"])
def test_gradients(wavelet, size):
    x = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    bands = torch.randn(1, 8, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(DWT2d(wavelet).double(), x)
    assert torch.autograd.gradcheck(IDWT2d(wavelet).double(), bands)
    assert torch.autograd.gradgradcheck(DWT2d(wavelet).double(), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_half_precision(wavelet, dtype):
    x = torch.randn(2, 3, 6, 7).to(dtype)
    bands = DWT2d(wavelet).to(dtype)(x)
    assert bands.dtype == dtype
    torch.testing.assert_close(bands.float(), DWT2d(wavelet)(x.float()), rtol=2e-2, atol=6e-2)
    back = IDWT2d(wavelet).to(dtype)(bands)
    assert back.dtype == dtype
    torch.testing.assert_close(back[..., :7].float(), x.float(), rtol=2e-2, atol=6e-2)
    # of one column, whose memory oneDNN's strided convolution leaves unwritten on CPUs with AMX
    x = torch.randn(64, 16, 8, 2)
    column = DWT2d(wavelet)(x.to(dtype)).float()
    torch.testing.assert_close(column, DWT2d(wavelet)(x), rtol=2e-2, atol=6e-2)
    # the input's type decides, whatever the module's is
    assert DWT2d(wavelet)(x.to(dtype)).dtype == IDWT2d(wavelet)(bands).dtype == dtype


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_autocast(wavelet):
    x = torch.randn(2, 3, 6, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        bands = DWT2d(wavelet)(x)
        back = IDWT2d(wavelet)(bands)
    torch.testing.assert_close(bands.float(), DWT2d(wavelet)(x), rtol=2e-2, atol=6e-2)
    torch.testing.assert_close(back.float(), x, rtol=2e-2, atol=6e-2)
    back.float().sum().backward()
    assert x.grad.dtype == torch.float32 and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_exports_with_dynamic_sides(wavelet):
    sides = {2: torch.export.Dim("h", min=4, max=512), 3: torch.export.Dim("w", min=4, max=512)}
    transform, inverse = DWT2d(wavelet), IDWT2d(wavelet)
    program = torch.export.export(transform, (torch.randn(2, 3, 10, 12),), dynamic_shapes=(sides,))
    back = torch.export.export(inverse, (torch.randn(2, 12, 10, 12),), dynamic_shapes=(sides,))
    for size in [(10, 12), (33, 17), (4, 4)]:
        x = torch.randn(2, 3, *size)
        bands = program.module()(x)
        torch.testing.assert_close(bands, transform(x))
        if min(bands.shape[-2:]) >= 4:
            torch.testing.assert_close(back.module()(bands), inverse(bands))


@pytest.mark.parametrize("wavelet", ["db2", "bior1.3"])
def test_a_change_of_type_gives_exact_filters(wavelet):
    reference = pywt.Wavelet(wavelet)
    forward, inverse = DWT2d(wavelet).half().double(), IDWT2d(wavelet).bfloat16().double()
    assert forward.filters.tolist() == [reference.dec_lo[::-1], reference.dec_hi[::-1]]
    assert inverse.filters.tolist() == [reference.rec_lo, reference.rec_hi]


def test_filters_stay_out_of_the_state_dict_and_of_meta():
    with torch.device("meta"):
        transform = DWT2d("db2")
    assert not transform.state_dict() and not list(transform.parameters())
    x = torch.randn(1, 1, 4, 4)
    assert torch.equal(transform.to_empty(device="cpu")(x), DWT2d("db2")(x))


@pytest.mark.parametrize("module", [DWT2d, IDWT2d])
def test_unknown_wavelet_names_near_matches(module):
    with pytest.raises(UserInputError, match=r"'harr'.*did you mean haar"):
        module("harr")
    with pytest.raises(UserInputError, match=r"bior1\.3"):
        module("bior13")
    with pytest.raises(UserInputError, match="not a discrete wavelet"):
        module("mexh")  # continuous
    with pytest.raises(UserInputError, match="known are"):
        module("###")


@pytest.mark.parametrize("size", [(8, 6), (7, 5)], ids=str)
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_memory_format_does_not_matter(wavelet, size):
    x = torch.randn(2, 3, *size)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    strided = torch.randn(2, 3, 2 * size[0], size[1])[:, :, ::2]
    transform, inverse = DWT2d(wavelet), IDWT2d(wavelet)
    torch.testing.assert_close(transform(channels_last), transform(x))
    torch.testing.assert_close(transform(strided), transform(strided.contiguous()))
    bands = transform(x)
    torch.testing.assert_close(inverse(bands.contiguous()), inverse(bands))
    if wavelet == "haar":
        assert transform(x).is_contiguous(memory_format=torch.channels_last)
