import pytest
import torch
from torch import nn

from wavemix_mm.models.fast.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_drops_the_share_and_keeps_the_mean(p, memory_format):
    x = torch.ones(8, 33, 31, 29).contiguous(memory_format=memory_format)
    out = Dropout(p)(x)
    assert out.is_contiguous(memory_format=memory_format)
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs((out == 0).double().mean() - p) < 4 * deviation
    torch.testing.assert_close(
        out[out != 0].unique(), torch.tensor([1 / (1 - p)]), rtol=1e-4, atol=0
    )
    # no pattern: neighbors, also those that share a draw, are independent
    kept = (out != 0).permute(0, 2, 3, 1).flatten().double() - (1 - p)
    for lag in (1, 2, 3, 4, 8):
        correlation = (kept[lag:] * kept[:-lag]).mean() / (p * (1 - p))
        assert abs(correlation) < 4 / kept.numel() ** 0.5, lag


def test_follows_the_seed_and_has_the_gradient_of_its_mask():
    x = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(Dropout(0.4)(x))
    assert torch.equal(*outs)
    (grad,) = torch.autograd.grad(outs[0].sum(), x)
    torch.testing.assert_close(grad, (outs[0] / x).detach())
    assert not torch.equal(Dropout(0.4)(x), outs[0])


def test_edges():
    x = torch.randn(4, 5)
    for p in (0.0, 1.0):
        assert torch.equal(Dropout(p)(x), x * (1 - p))
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.5)(x[:0]).shape == (0, 5)
    assert isinstance(Dropout(0.5), nn.Dropout)
    out = Dropout(0.25)(torch.ones(1000, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16 and set(out.tolist()) == {0.0, 1.3359375}
