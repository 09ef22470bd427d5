"""Every model in the paper's tables has the number of parameters that it must have."""

import ast
import csv
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

with open(Path(__file__).parent / "data" / "paper_rows.csv", newline="") as file:
    ROWS = list(csv.DictReader(file))


def test_there_are_103_rows():
    assert len(ROWS) == len({row["id"] for row in ROWS}) == 103


def _model_config(row: dict) -> dict:
    dims, classes = int(row["embed_dims"]), int(row["num_classes"])
    argument = "stride" if row["stem"] == "strided" else "patch_size"
    stem = {"strided": "wavemix_mm.StridedStem", "patch": "wavemix_mm.PatchStem"}[row["stem"]]
    backbone = dict(
        type="wavemix_mm.WaveMix",
        in_channels=int(row["in_channels"]),
        embed_dims=dims,
        depth=int(row["depth"]),
        levels=ast.literal_eval(row["levels"]),
        ff_channels=int(row["ff_channels"]),
        mlp_ratio=float(row["mlp_ratio"]),
        upsample=row["upsample"],
        stem={"type": stem, argument: int(row["stem_arg"])},
        token_mixer=dict(type="wavemix_mm.DWTMixer", wavelet=row["wavelet"]),
    )
    if row["head"] == "transposed_conv":
        head = dict(
            type="wavemix_mm.TransposedConvHead",
            in_channels=dims,
            channels=dims // 4,
            num_classes=classes,
            loss_decode=dict(type="wavemix_mm.SoftmaxFocalLoss"),
        )
        return dict(type="mmseg.EncoderDecoder", backbone=backbone, decode_head=head)
    neck, width = dict(type="mmpretrain.GlobalAveragePooling"), dims
    if row["head"] != "linear":
        neck, width = dict(type="wavemix_mm.ChannelMixing", in_channels=dims), 1024
    head = dict(type="mmpretrain.LinearClsHead", in_channels=width, num_classes=classes)
    return dict(type="mmpretrain.ImageClassifier", backbone=backbone, neck=neck, head=head)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_parameters(row):
    init_default_scope("mmseg" if row["head"] == "transposed_conv" else "mmpretrain")
    with torch.device("meta"):
        model = MODELS.build(_model_config(row))
    assert sum(parameter.numel() for parameter in model.parameters()) == int(row["params"])
