"""Parity with the authors' package, through `convert_official`.

`pytest -rP tests/test_official/test_convert.py` shows the largest differences, each
max |a - b| / max |a|.

In train mode some gradients are zero but for rounding (the bias before a batch norm), and others
are sums that nearly cancel (below a global pooling). The strict comparison, each gradient by the
largest one of its layer, is therefore made in float64; in float32 all gradients are compared as
one vector.
"""

import copy

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from wavemix_mm import convert_official
from wavemix_mm.errors import UserInputError
from wavemix_mm.official import networks

DIMS, FF, CLASSES = 16, 24, 7
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def largest():
    """The largest relative difference of each kind; printed after the last test."""
    differences = {}
    yield differences
    for kind, value in sorted(differences.items()):
        print(f"largest relative difference to the authors' package, {kind}: {value:.2e}")


# name -> (task, level, stem, argument of the stem)
CASES = {
    **{f"seg-l{level}": ("seg", level, "strided", 2) for level in (1, 2, 3, 4)},
    "seg-l2-stride1": ("seg", 2, "strided", 1),
    **{f"cls-strided1-l{level}": ("cls", level, "strided", 1) for level in (1, 2, 3, 4)},
    **{f"cls-strided2-l{level}": ("cls", level, "strided", 2) for level in (1, 3)},
    **{f"cls-patch4-l{level}": ("cls", level, "patch", 4) for level in (1, 2, 3, 4)},
    "cls-patch5-l1": ("cls", 1, "patch", 5),
    "cls-patch5-l3": ("cls", 3, "patch", 5),
    "seg_on_cls-l3": ("seg_on_cls", 3, "patch", 4),
    "seg_on_cls-l1": ("seg_on_cls", 1, "patch", 4),
    "final-l3": ("final", 3, "patch", 4),
    "final-l1": ("final", 1, "strided", 1),
}


def _theirs(official, task, level, stem, argument):
    common = dict(
        num_classes=CLASSES,
        depth=2,
        mult=3,
        ff_channel=FF,
        final_dim=DIMS,
        dropout=0.0,
        level=level,
    )
    if task == "seg":
        return official.SemSegment.WaveMix(stride=argument, **common)
    kind = "strided" if stem == "strided" else "pachify"
    network = official.classification.WaveMix(
        initial_conv=kind, stride=argument, patch_size=argument, **common
    )
    if task == "seg_on_cls":
        return networks.add_segmentation_head(network, (12, 5), CLASSES)
    if task == "final":
        return networks.OlderClassification(network, 1024)
    return network


def _ours(task, level, stem, argument, num_classes=CLASSES):
    if stem == "strided":
        stem = dict(type="wavemix_mm.StridedStem", stride=argument)
    else:
        stem = dict(type="wavemix_mm.PatchStem", patch_size=argument)
    backbone = dict(
        type="wavemix_mm.WaveMix",
        embed_dims=DIMS,
        depth=2,
        levels=level,
        ff_channels=FF,
        mlp_ratio=3,
        dropout=0.0,
        stem=stem,
    )
    if task in ("seg", "seg_on_cls"):
        init_default_scope("mmseg")
        mid, last = (12, 5) if task == "seg_on_cls" else (None, DIMS // 4)
        head = dict(
            type="wavemix_mm.TransposedConvHead",
            in_channels=DIMS,
            mid_channels=mid,
            channels=last,
            num_classes=num_classes,
        )
        return MODELS.build(dict(type="EncoderDecoder", backbone=backbone, decode_head=head))
    init_default_scope("mmpretrain")
    neck, width = dict(type="GlobalAveragePooling"), DIMS
    if task == "final":
        neck, width = dict(type="wavemix_mm.ChannelMixing", in_channels=DIMS), 1024
    head = dict(type="LinearClsHead", in_channels=width, num_classes=num_classes)
    return MODELS.build(dict(type="ImageClassifier", backbone=backbone, neck=neck, head=head))


def _images(level, stem, argument):
    """A batch whose features have sides that 2**level divides, once and twice."""
    stride = argument if stem == "patch" else argument**2
    side = 2**level * stride
    return torch.randn(4, 3, side, 2 * side)


def _relative(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    return ((a - b).abs().max() / a.abs().max()).item()


def _gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def _compare(theirs, ours, images, by_layer):
    """Relative differences of output, running statistics and gradients."""
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    expected, got = theirs(inputs[0]), ours(inputs[1], mode="tensor")
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    differences = {"output": _relative(expected, got)}
    differences["gradient of the input"] = _relative(inputs[0].grad, inputs[1].grad)
    expected, got = convert_official(_gradients(theirs)), _gradients(ours)
    assert expected.keys() == got.keys()
    layers = {name.rpartition(".")[0] for name in expected} if by_layer else {""}
    for layer in layers:
        names = [name for name in expected if name.startswith(layer and layer + ".")]
        a, b = (torch.cat([of[name].flatten() for name in names]) for of in (expected, got))
        difference = _relative(a, b) if by_layer else ((a - b).norm() / a.norm()).item()
        differences["gradients"] = max(differences.get("gradients", 0), difference)
    expected, got = convert_official(theirs.state_dict()), ours.state_dict()
    differences["statistics"] = max(
        _relative(expected[name], got[name]) for name in got if "running" in name
    )
    return differences


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("dtype", "package"), [(torch.float32, "official"), (torch.float64, "double_official")]
)
def test_parity(case, mode, dtype, package, randomize_norms, largest, request):
    official = request.getfixturevalue(package)
    task, level, stem, argument = CASES[case]
    theirs = _theirs(official, task, level, stem, argument)
    randomize_norms(theirs)
    ours = _ours(task, level, stem, argument)
    ours.load_state_dict(convert_official(theirs.state_dict()), strict=True)
    theirs.to(dtype).train(mode == "train")
    ours.to(dtype).train(mode == "train")
    images = _images(level, stem, argument).to(dtype)
    differences = _compare(theirs, ours, images, by_layer=dtype == torch.float64)
    print(case, mode, {kind: f"{value:.1e}" for kind, value in differences.items()})
    for kind, value in differences.items():
        key = f"{kind}, {mode}, {dtype}"
        largest[key] = max(largest.get(key, 0), value)
        assert value <= TOLERANCE, kind


@pytest.fixture
def segmentation(official):
    """State dict of their segmentation network."""
    return _theirs(official, "seg", 2, "strided", 2).state_dict()


@pytest.mark.parametrize("case", ["seg-l2", "seg_on_cls-l3"])
def test_drop_void_removes_the_first_class(case, official, randomize_norms):
    task, level, stem, argument = CASES[case]
    theirs = _theirs(official, task, level, stem, argument).eval()
    randomize_norms(theirs)
    state = theirs.state_dict()
    before = copy.deepcopy(state)
    ours = _ours(task, level, stem, argument, num_classes=CLASSES - 1).eval()
    ours.load_state_dict(convert_official(state, drop_void=True), strict=True)
    images = _images(level, stem, argument)
    assert _relative(theirs(images)[:, 1:], ours(images, mode="tensor")) <= TOLERANCE
    assert all(torch.equal(before[key], state[key]) for key in before)  # the argument is unchanged


def test_drop_void_needs_a_segmentation_head(official):
    classification = _theirs(official, "cls", 2, "patch", 4)
    with pytest.raises(UserInputError, match="drop_void"):
        convert_official(classification.state_dict(), drop_void=True)


def test_module_prefix_and_wavelet_buffers_are_removed(segmentation):
    expected = convert_official(segmentation)
    wrapped = {f"module.{key}": value for key, value in segmentation.items()}
    for name in ("h0_col", "h1_col", "h0_row", "h1_row", "g0_col", "g1_row"):
        wrapped[f"module.layers.0.xf1.{name}"] = wrapped[f"module.xf2.{name}"] = torch.zeros(2)
        wrapped[name] = torch.zeros(2)
    converted = convert_official(wrapped)
    assert converted.keys() == expected.keys()
    assert all(converted[key] is expected[key] for key in expected)


# The first is a key of the patch stem.
@pytest.mark.parametrize(
    "unknown",
    ["conv.2.weight", "layers.0.feedforward1.1.weight", "layers.0.norm.weight", "expand.3.bias"],
)
def test_unknown_keys_are_listed(unknown, segmentation):
    with pytest.raises(UserInputError) as error:
        convert_official(segmentation | {unknown: torch.zeros(1), "surprise": torch.zeros(1)})
    assert unknown in str(error.value) and "surprise" in str(error.value)
    assert "expand.0" not in str(error.value)
    with pytest.raises(UserInputError, match=r"encoder\.4\.weight and 295 more"):
        convert_official({f"encoder.{i}.weight": torch.zeros(1) for i in range(300)})


@pytest.mark.parametrize("state", [{}, {"h0_col": torch.zeros(2)}])
def test_an_empty_state_dict_is_refused(state):
    with pytest.raises(UserInputError, match="it is empty"):
        convert_official(state)
