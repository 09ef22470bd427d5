"""wavemix_mm/models/fast/optimize.py: one call makes a model fast, and never slower."""

import copy
import re

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import nn

import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
from wavemix_mm.errors import UserInputError
from wavemix_mm.models.fast import optimize as module
from wavemix_mm.models.fast.fast_forward import FastForward, Ways
from wavemix_mm.models.fast.optimize import PLAIN, TOLERANCES, apply, optimize

BACKBONE = dict(type="wavemix_mm.WaveMix", embed_dims=8, depth=2, levels=2)
HEAD = dict(type="wavemix_mm.TransposedConvHead", in_channels=8, mid_channels=8, channels=8)
NORM = dict(mean=[120.0] * 3, std=[60.0] * 3)
SEGMENTOR = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", **NORM),
    backbone=dict(BACKBONE, out_indices=(0, 1)),
    decode_head=dict(HEAD, num_classes=5, in_index=-1),
    auxiliary_head=dict(HEAD, num_classes=5, in_index=0),
    test_cfg=dict(mode="whole"),
)
SLIDE = dict(mode="slide", crop_size=(24, 24), stride=(16, 16))
MODELS_AND_MODES = {
    "segmentor": ("mmseg", SEGMENTOR),
    "slide": ("mmseg", SEGMENTOR | dict(test_cfg=SLIDE)),
    "cascade": ("mmseg", dict(
        type="CascadeEncoderDecoder",
        num_stages=2,
        data_preprocessor=SEGMENTOR["data_preprocessor"],
        backbone=BACKBONE,
        decode_head=[
            dict(type="FCNHead", in_channels=8, channels=8, num_classes=5),
            dict(type="OCRHead", in_channels=8, channels=8, ocr_channels=4, in_index=-1,
                 num_classes=5, norm_cfg=dict(type="BN")),
        ],
        test_cfg=dict(mode="whole"),
    )),
    "classifier": ("mmpretrain", dict(
        type="ImageClassifier",
        data_preprocessor=dict(type="ClsDataPreprocessor", **NORM),
        backbone=BACKBONE,
        neck=dict(type="wavemix_mm.ChannelMixing", in_channels=8, out_channels=16),
        head=dict(type="LinearClsHead", num_classes=7, in_channels=16),
    )),
    "no head": ("mmpretrain", dict(
        type="ImageClassifier",
        backbone=BACKBONE,
        neck=dict(type="GlobalAveragePooling"),
    )),
    "backbone": ("mmengine", BACKBONE),
}  # fmt: skip


def build(name, randomize_norms):
    scope, cfg = MODELS_AND_MODES[name]
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(ConfigDict(cfg)).eval()
    randomize_norms(model)
    return model


def outputs(model):
    """What a model computes of two images, in all modes."""
    x = torch.rand(2, 3, 32, 48).to(next(model.parameters()).device)
    with torch.no_grad():
        if not hasattr(model, "data_preprocessor"):
            return model(x)
        found = [model(x, mode="tensor")]
        if hasattr(model, "decode_head"):
            found += [sample.seg_logits.data for sample in model(x, mode="predict")]
        elif model.with_head:
            found += [sample.pred_score for sample in model(x, mode="predict")]
    return [item[-1] if isinstance(item, tuple) else item for item in found]


def logged(capsys):
    return "".join(capsys.readouterr())


def assert_close(model, plain, tolerance):
    for seed in range(3):  # the second one compiles
        results = []
        for each in (model, plain):
            torch.manual_seed(seed)
            results.append([x.cpu() for x in outputs(each)])
        for actual, expected in zip(*results, strict=True):
            assert actual.dtype == expected.dtype == torch.float32
            assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("options", [None, dict(backend="eager")], ids=["eager", "compiled"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("name", MODELS_AND_MODES)
def test_equals_the_plain_model(name, dtype, tolerance, options, randomize_norms):
    plain = build(name, randomize_norms)
    apply(model := copy.deepcopy(plain), Ways(True, dtype, options))
    assert (
        next(model.backbone.parameters() if name != "backbone" else model.parameters()).dtype
        == dtype
    )
    assert_close(model, plain, tolerance)


# seconds of the plain model, of the folded one and of the compiled one
@pytest.mark.parametrize(
    ("seconds", "expected"), [((1, 2, 3), "plain"), ((3, 1, 2), "folded"), ((3, 2, 1), "compiled")]
)
def test_keeps_the_fastest(seconds, expected, randomize_norms, monkeypatch, capsys):
    monkeypatch.setattr(module, "_interleave", lambda calls, is_cuda: [[s] * 3 for s in seconds])
    plain = build("segmentor", randomize_norms)
    model = optimize(copy.deepcopy(plain), (1, 32, 48), torch.float32, dict(backend="eager"))
    text = logged(capsys)
    assert re.search(
        rf"EncoderDecoder runs as .*{expected}.* \(times as fast .* at 1x32x48: 1.00 as", text
    )
    is_plain = expected == "plain"
    assert (model.state_dict().keys() == plain.state_dict().keys()) == is_plain
    assert_close(model, plain, 1e-5)
    forward = vars(model.backbone).get("forward")
    if is_plain:
        assert forward is None and model.backbone.blocks[0].reduction.weight.requires_grad
    else:
        assert (forward.ways.compile is not None) == (expected == "compiled")


def test_measures(randomize_norms):
    """With real clocks; any result of the choice is right."""
    plain = build("backbone", randomize_norms)
    assert_close(optimize(copy.deepcopy(plain), (1, 16, 16), torch.float32, False), plain, 1e-5)


class WrongFold(nn.Module):
    """Folding changes what it computes, to infinity. Its head is no part of a model of mmseg."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.head(x)

    def switch_to_deploy(self):
        nn.init.constant_(self.head.weight, torch.inf)


def test_a_wrong_result_is_no_candidate(monkeypatch, capsys):
    monkeypatch.setattr(module, "_interleave", lambda calls, is_cuda: [[1.0]] * len(calls))
    network = optimize(WrongFold(), (1, 8, 8), torch.float32, compile=False)
    assert network.head.weight.isfinite().all()
    assert "folded, float32 is off by" in logged(capsys)
    apply(network, Ways(True, torch.float32))
    assert isinstance(vars(network)["forward"], FastForward) and "forward" not in vars(network.head)


def test_a_compiler_that_does_not_work_is_no_candidate(randomize_norms, monkeypatch, capsys):
    def fail(graph, inputs):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(module, "_interleave", lambda calls, is_cuda: [[1.0]] * len(calls))
    plain = build("segmentor", randomize_norms)
    optimize(plain, (1, 32, 48), torch.float32, dict(backend=fail))
    text = logged(capsys)
    assert text.count("torch.compile does not work here") == 1
    assert text.count("as folded, float32") == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_type_of_a_cpu(dtype, randomize_norms, capsys):
    optimize(build("segmentor", randomize_norms), cpu_dtype=dtype)
    assert f"runs as folded, {str(dtype).removeprefix('torch.')}" in logged(capsys)


@pytest.mark.parametrize(
    ("compile", "expected"),
    [(True, {}), ({}, {}), (dict(mode="x"), dict(mode="x")), (False, None), (None, None)],
)
def test_whether_it_compiles(compile, expected, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "_measure", lambda *args: seen.append(args[-1]) or (PLAIN, ""))
    optimize(WrongFold(), (1, 8, 8), compile=compile)
    assert seen == [expected]


def test_state_dicts(randomize_norms):
    plain = build("segmentor", randomize_norms)
    model = optimize(copy.deepcopy(plain))
    with pytest.raises(UserInputError, match="WaveMix was optimized.*before optimize"):
        model.load_state_dict(plain.state_dict())
    other = optimize(copy.deepcopy(plain))
    for parameter in other.parameters():
        parameter.zero_()
    other.load_state_dict(model.state_dict())
    assert_close(other, model, 0)


def test_a_wrapper(randomize_norms):
    model = nn.Module()
    model.module = build("segmentor", randomize_norms)
    optimize(model)
    assert isinstance(model.module.backbone.forward, FastForward)


def test_mistakes(randomize_norms):
    plain = build("backbone", randomize_norms)
    for images in [(224, 224), (0, 8, 8), (1.5, 8, 8), 224]:
        with pytest.raises(UserInputError, match=r"is not \(N, H, W\)"):
            optimize(plain, images)
    with pytest.raises(UserInputError, match="dtype=torch.int8 is not one of"):
        optimize(plain, dtype=torch.int8)
    optimize(plain)
    with pytest.raises(UserInputError, match="optimized already"):
        optimize(plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MODELS_AND_MODES)
@pytest.mark.parametrize("images", [None, (2, 32, 48)])
def test_optimize_on_a_gpu(name, images, randomize_norms):
    plain = build(name, randomize_norms)
    model = optimize(copy.deepcopy(plain).cuda(), images)
    assert_close(model, plain, TOLERANCES[torch.bfloat16])
