"""wavemix_mm/official/networks.py."""

import pytest
import torch

from wavemix_mm import convert_official
from wavemix_mm.analysis.benchmark.models import build_model
from wavemix_mm.analysis.benchmark.specs import parse_spec
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

SMALL = "model.backbone.embed_dims=8 model.backbone.depth=2"
SEGMENTATION = f"{SMALL} model.decode_head.in_channels=8 model.decode_head.channels=2"
# a strided and a patch stem, their four networks, ff_channels and mlp_ratio of their own
CASES = {
    "cityscapes": f"cityscapes {SEGMENTATION} model.decode_head.mid_channels=4",
    "seg_on_cls": f"cityscapes_in1k-192-16-l3 {SEGMENTATION} model.decode_head.mid_channels=6",
    "imagenet": f"imagenet {SMALL} model.neck.in_channels=8",
    "cifar10": f"cifar10 {SMALL} model.head.in_channels=8 model.backbone.ff_channels=12 "
    "model.backbone.mlp_ratio=3",
}


@pytest.mark.parametrize("case", CASES)
def test_counterpart_gives_the_same_output(case):
    ours = build_model(parse_spec(CASES[case])).eval()
    theirs = build_model(parse_spec(f"official:{CASES[case]}")).eval()
    networks.randomize_norms(theirs)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images)
        assert not torch.allclose(ours(images), expected, rtol=1e-2)
        ours.network.load_state_dict(convert_official(theirs.network.state_dict()), strict=True)
        torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "option",
    [
        "model.backbone.levels=[2]",
        "model.backbone.levels=5",
        "model.backbone.in_channels=1",
        "model.backbone.token_mixer.wavelet=db2",
        "model.backbone.upsample=bilinear",
    ],
)
def test_what_they_cannot_build(option):
    with pytest.raises(UserInputError, match="has no counterpart"):
        build_model(parse_spec(f"official:{CASES['cifar10']} {option}"))
