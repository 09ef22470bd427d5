"""Does a checkpoint fit a model?"""

import pytest
import torch
from torch import nn

from wavemix_mm.engine.checkpoints import fit
from wavemix_mm.errors import UserInputError


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of a 3-to-4 and a 4-to-2 layer."""
    path = str(tmp_path / "a.pth")
    torch.save(dict(state_dict=nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()), path)
    return path


@pytest.mark.parametrize(
    ("layers", "parts"),
    [
        ([nn.Linear(3, 4), nn.Linear(4, 2)], None),
        (
            [nn.Linear(3, 5), nn.Linear(5, 2, bias=False), nn.Linear(2, 7)],
            [
                "6 of its keys differ: "
                "0.weight is (4, 3) in the checkpoint and (5, 3) in the model",
                "0.bias is (4,) in the checkpoint and (5,) in the model",
                "1.weight is (2, 4) in the checkpoint and (2, 5) in the model",
                "...",
            ],
        ),
        (
            [nn.Linear(3, 4), nn.Linear(4, 2, bias=False), nn.PReLU(7)],
            ["2 of its keys differ: 2.weight (7,) is missing in the checkpoint",
             "1.bias (2,) is unknown to the model."],
        ),
    ],
    ids=["fits", "other shapes", "other names"],
)  # fmt: skip
def test_first_differences_and_their_number(checkpoint, layers, parts):
    model = nn.Sequential(*layers)
    if parts is None:
        fit.check_checkpoint(model, checkpoint)
        return
    with pytest.raises(UserInputError) as caught:
        fit.check_checkpoint(model, checkpoint)
    assert str(caught.value).endswith(f"does not fit the model, {'; '.join(parts)}")


def test_initial_weights_may_fit_in_part_but_not_in_nothing(checkpoint):
    fit.check_initial_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 9)), checkpoint)
    with pytest.raises(UserInputError, match=r"has no tensor that fits the model: 0\.weight is"):
        fit.check_initial_weights(nn.Sequential(nn.Linear(8, 9)), checkpoint)
