"""Checkpoints with the names of version 0.1.0 load strictly."""

import re

import pytest
import torch

from wavemix_mm.models.backbones.old_names import rename_old_keys
from wavemix_mm.models.backbones.wavemix import WaveMix

TINY = dict(embed_dims=16, depth=2, levels=2)
NAMES = {"expand": "0", "project": "3", "upsample": "4", "norm": "5"}
FOLDED = ("following_weight", "following_bias", "fused_weight", "fused_bias")


def old_name(key):
    """Today's name to that of version 0.1.0, written here a second time on purpose."""
    if match := re.fullmatch(r"stem\.in_turn\.(\w+)", key):
        return f"stem.composed.{FOLDED.index(match[1])}"
    head, layer, rest = re.fullmatch(r"(blocks\.\d+\.paths\.\d+\.|)(\w+)\.(.+)", key).groups()
    return f"{head}{NAMES[layer]}.{rest}" if head else key


def old_state(state):
    """The state dict of version 0.1.0: a folded path had a convolution for each of its inputs."""
    old = {}
    for key, value in state.items():
        name = old_name(key)
        old[name.replace(".cells.", ".conv.")] = value
        if name.endswith(".cells.weight"):
            cells, higher = value.split([16, value.shape[1] - 16], dim=1)
            cells = cells[..., 0, 0].unflatten(1, (2, 2, 4)).permute(0, 3, 1, 2)
            old[name.replace(".cells.", ".conv.")] = cells
            if higher.shape[1]:
                old[name.replace(".cells.", ".higher.")] = higher
    return old


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize(
    "kwargs",
    [{}, dict(upsample="idwt", ff_channels=32), dict(stem=dict(type="wavemix_mm.StridedStem"))],
    ids=str,
)
def test_old_names_load_strictly(kwargs, prefix, deploy):
    net, other = (WaveMix(**TINY, **kwargs).eval() for _ in range(2))
    if deploy:
        net.switch_to_deploy()
        other.switch_to_deploy()
    state = {prefix + key: value for key, value in old_state(net.state_dict()).items()}
    before = list(state)
    model = torch.nn.ModuleDict(dict(backbone=other)) if prefix else other
    model.load_state_dict(state, strict=True)
    assert list(state) == before  # the caller's dict stays
    x = torch.randn(1, 3, 20, 28)
    assert torch.equal(other(x)[0], net(x)[0])


def test_names_of_an_interpolation_with_other_channels():
    net = WaveMix(**TINY, upsample="bilinear")
    state = net.state_dict()
    old = {re.sub(r"upsample\.project", "4.0", key): value for key, value in state.items()}
    assert old.keys() != state.keys()
    rename_old_keys(old)
    assert old.keys() == state.keys()


def test_other_keys_stay():
    state = {"decode_head.paths.0.3.weight": 1, "backbone.blocks.0.reduction.weight": 2}
    renamed = dict(state)
    rename_old_keys(renamed, "backbone.")
    assert renamed == state


def test_the_optimizers_order_of_parameters_is_that_of_0_1_0():
    """Optimizer states go by position, so that a training of 0.1.0 can be resumed."""
    keys = [key for key, _ in WaveMix(**TINY).named_parameters() if ".paths.0." in key]
    positions = [old_name(key).split(".")[4] for key in keys if key.startswith("blocks.0")]
    assert positions == sorted(positions)
