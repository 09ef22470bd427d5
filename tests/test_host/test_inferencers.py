"""An inferencer that is given weights without a config says that it needs one."""

import pytest
import torch
from mmengine.infer import BaseInferencer
from mmengine.utils import get_object_from_string
from mmpretrain import ImageClassificationInferencer

from wavemix_mm.errors import UserInputError


class Inferencer(BaseInferencer):
    _init_pipeline = visualize = postprocess = lambda *_: None


@pytest.mark.parametrize("inferencer", ["mmseg.apis.MMSegInferencer", None])
def test_inferencer_with_weights_alone_is_told_to_name_a_config(tmp_path, inferencer):
    kind = Inferencer if inferencer is None else get_object_from_string(inferencer)
    path = tmp_path / "epoch_1.pth"
    for content in (dict(meta=dict(cfg="a = 1"), state_dict={}), dict(state_dict={})):
        torch.save(content, path)
        with pytest.raises(UserInputError) as caught:
            kind(None, str(path), device="cpu")
        message = str(caught.value)
        assert "wavemix_mm does not read configs out of checkpoints" in message
        assert "docs/reliability.md" in message
        assert f"{kind.__name__}('path/to/config.py', '{path}')" in message
    with pytest.raises(UserInputError, match=r"none\.pth does not exist"):
        kind(None, str(tmp_path / "none.pth"), device="cpu")
    with pytest.raises(KeyError, match="none of it"):  # of the config, as mmengine says it
        kind(dict(model=dict(type="none of it")), None, device="cpu")


def test_classification_inferencer_too():
    with pytest.raises(UserInputError) as caught:
        ImageClassificationInferencer(None, "a.pth")
    message = str(caught.value)
    assert message.startswith("checkpoint a.pth was given without a config")
    assert message.endswith("ImageClassificationInferencer('path/to/config.py', 'a.pth').")
    with pytest.raises(ValueError, match="Failed to find model"):  # as mmpretrain says it
        ImageClassificationInferencer("no such model", "a.pth")
