"""A model saved as a folder comes back equal, in another place and without the config's bases."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import inference_model
from torch import nn

from wavemix_mm.apis import init_model
from wavemix_mm.errors import UserInputError
from wavemix_mm.hub import from_pretrained, save_pretrained
from wavemix_mm.models.backbones.wavemix import WaveMix


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "new" / "camvid_64-6"
    model = init_model("configs/wavemix/camvid_64-6.py", "wavemix_mm://camvid_64-6", device="cpu")
    save_pretrained(model, folder)
    return model, folder


def test_a_segmentor_comes_back_with_its_outputs_classes_and_pipeline(saved, tmp_path, monkeypatch):
    model, folder = saved
    moved = shutil.copytree(folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    again = from_pretrained("moved", "cpu")
    assert sorted(path.name for path in moved.iterdir()) == ["config.json", "model.safetensors"]
    assert list(again.dataset_meta["classes"]) == list(model.dataset_meta["classes"])
    assert again.dataset_meta["palette"] == model.dataset_meta["palette"]
    image = torch.randint(0, 256, (90, 120, 3), dtype=torch.uint8).numpy()
    logits, expected = (inference_model(m, image).seg_logits.data for m in (again, model))
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)


def test_a_classifier_comes_back_and_a_class_in_the_config_becomes_its_path(tmp_path):
    cfg = Config.fromfile("configs/wavemix/mnist_8-10.py")
    cfg.model.backbone.type = WaveMix
    cfg.numbers = np.arange(2)
    model = init_model(cfg, "wavemix_mm://mnist_8-10", device="cpu")
    save_pretrained(model, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["numbers"] == [0, 1]
    kind = written["model"]["backbone"]["type"]
    assert kind == "wavemix_mm.models.backbones.wavemix.WaveMix"
    again, fast = (from_pretrained(tmp_path, "cpu", optimize=flag) for flag in (False, True))
    images = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        expected, equal, near = (m(images, mode="tensor") for m in (model, again, fast))
    torch.testing.assert_close(equal, expected, rtol=0, atol=0)
    # optimized: folded, and in bfloat16 if the CPU is fast in it
    assert not torch.equal(near, expected)
    torch.testing.assert_close(near, expected, rtol=0, atol=0.05 * expected.abs().max().item())


def test_what_cannot_be_saved_or_read_is_one_message(saved, tmp_path):
    model, folder = saved
    with pytest.raises(UserInputError, match="has no config"):
        save_pretrained(nn.Linear(1, 1), tmp_path)
    with pytest.raises(UserInputError, match="config.json does not exist"):
        from_pretrained(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserInputError, match="cannot be written"):
        save_pretrained(model, tmp_path / "file")
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserInputError, match="model.safetensors cannot be read"):
        from_pretrained(damaged)
    for text in ("{", "[" * 9999, '{"__tuple__": 1}', "[]"):
        (damaged / "config.json").write_text(text)
        with pytest.raises(UserInputError, match="config.json cannot be read"):
            from_pretrained(damaged)
    model.cfg.strange = object()
    with pytest.raises(UserInputError, match="cannot be written as JSON: it holds <object"):
        save_pretrained(model, tmp_path / "strange")
    assert not (tmp_path / "strange").exists()
