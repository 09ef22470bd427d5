"""What of a checkpoint reaches mmengine: counts that are counts, text in listed places alone."""

import math

import numpy as np
import pytest
import torch

from wavemix_mm.engine.checkpoints.files import find_newest_good
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.errors import UserInputError


def save(path, meta=None, info=None, **more):
    hub = dict(log_scalars={}, runtime_info=info or {}, resumed_keys={})
    state = dict(a=torch.ones(1))
    meta = dict(epoch=1, iter=2) | (meta or {})
    torch.save(dict(state_dict=state, meta=meta, message_hub=hub, **more), path)
    return str(path)


@pytest.mark.parametrize("key", ["epoch", "iter"])
@pytest.mark.parametrize("value", [-1, "1", 10**30, True, math.nan, 1.0, None, [1]])
def test_epoch_that_is_no_count(tmp_path, key, value):
    path = save(tmp_path / "epoch_1.pth", meta={key: value})
    with pytest.raises(UserInputError, match=rf"epoch_1\.pth cannot be used: its {key} is "):
        read_checkpoint(path)
    found, ((damaged, cause),) = find_newest_good(tmp_path)
    assert found is None and str(damaged) == path and f"its {key} is" in cause


def test_text_is_kept_in_listed_places_alone(tmp_path):
    dataset = dict(classes=("a", "b"), palette=[[1, 2, 3]])
    meta = dict(time="t", dataset_meta=dataset, cfg="x", config="x", hook_msgs=dict(a="x", b=1))
    meta |= dict(epoch=np.int64(3))
    info = dict(cfg="x", other="x", nested=dict(cfg=b"x", n=1), experiment_name="run", n=[1])
    info |= dict(dataset_meta="x", array=np.array(["x"]))
    # hooks remove the best checkpoint when there is a better one: it must lie beside this one
    own = str(tmp_path / "best_2.pth")
    info |= dict(best_ckpt=own, best_ckpt_mIoU="/home/me/best_1.pth", last_ckpt="../x.pth")
    optimizer = dict(param_groups=[dict(name="head")])
    path = save(tmp_path / "a.pth", meta, info, optimizer=optimizer, more="x", model=dict(a="x"))
    content = read_checkpoint(path)
    expected = dict(epoch=3, iter=2, time="t", dataset_meta=dataset, hook_msgs=dict(b=1))
    assert content["meta"] == expected and type(content["meta"]["epoch"]) is int
    paths = dict(best_ckpt_mIoU=str(tmp_path / "best_1.pth"), last_ckpt=str(tmp_path / "x.pth"))
    paths |= dict(best_ckpt=own)
    kept = dict(nested=dict(n=1), experiment_name="run", n=[1]) | paths
    assert content["message_hub"]["runtime_info"] == kept
    assert content["optimizer"] == optimizer
    assert content["model"] == {} and "more" not in content


@pytest.mark.parametrize("key", ["best_ckpt", "best_ckpt_mIoU"])
@pytest.mark.parametrize(
    "named",
    ["..", "/x/..", "{}/..", "{}/.", "{}/", "{}/thesis.pth", "best_\0", "\ud800/best_1.pth"],
)
def test_only_a_best_checkpoint_can_be_removed_as_one(tmp_path, key, named):
    """Hooks remove it when there is a better one, a folder with all that it holds."""
    path = save(tmp_path / "a.pth", info={key: named.format(tmp_path), "n": 1})
    assert read_checkpoint(path)["message_hub"]["runtime_info"] == dict(n=1)
