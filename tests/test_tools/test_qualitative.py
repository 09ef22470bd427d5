"""tools/visualization/qualitative.py."""

import importlib.util
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.apis import init_model
from mmseg.registry import DATASETS

import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)

ROOT = Path(__file__).resolve().parents[2]
RED, GRAY = (230, 30, 30), (90, 90, 90)
CLASSES = ("road", "tree", "car")
PALETTE = ((10, 200, 10), (20, 20, 220), (200, 10, 200))


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "visualization" / "qualitative.py"
    spec = importlib.util.spec_from_file_location("tool_qualitative", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    path = tmp_path / "weights.pth"
    model = init_model(str(tiny_config), device="cpu")
    torch.save({"state_dict": model.state_dict(), "meta": {}}, path)
    return path


def run(tool, *argv):
    tool.main([str(arg) for arg in argv])


def share(picture, color):
    """Share of a picture's pixels that have a color, given as RGB."""
    return (np.abs(picture[..., ::-1].astype(int) - color).max(axis=-1) < 6).mean()


def test_panels_show_what_was_given(tool, tmp_path):
    image = np.full((40, 80, 3), (0, 120, 120), np.uint8)
    truth = np.repeat(np.array([0, 1, 2, 255], np.uint8), 20)[None].repeat(40, 0)
    prediction = np.zeros_like(truth)
    prediction[:, 20:40] = 1
    path = tmp_path / "a.png"
    tool.draw(image, truth, prediction, CLASSES, PALETTE, 255, path)
    picture = cv2.imread(str(path))
    panel = share(picture, (0, 120, 120))  # the image alone has this color
    # of the panel with the errors: a half is right, a quarter wrong, a quarter does not count
    assert share(picture, GRAY) == pytest.approx(panel / 2, rel=0.05)
    assert share(picture, RED) == pytest.approx(panel / 4, rel=0.05)
    # road: a quarter of the truth and three of the prediction; the legend adds a little
    assert share(picture, PALETTE[0]) == pytest.approx(panel, rel=0.1)
    assert share(picture, PALETTE[1]) == pytest.approx(panel / 2, rel=0.1)
    assert share(picture, PALETTE[2]) == pytest.approx(panel / 4, rel=0.15)


def test_without_truth_there_are_two_panels(tool, tmp_path):
    image = np.full((40, 80, 3), (0, 120, 120), np.uint8)
    tool.draw(image, None, np.ones((40, 80), np.uint8), CLASSES, PALETTE, 255, tmp_path / "a.png")
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert share(picture, (0, 120, 120)) == pytest.approx(share(picture, PALETTE[1]), rel=0.1)
    assert share(picture, (0, 120, 120)) > 0.25
    assert share(picture, RED) == 0 and share(picture, PALETTE[0]) == 0


def test_draws_the_test_set_and_names_the_folder(tool, tiny_config, checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "pictures"
    run(tool, tiny_config, checkpoint, "--images", 9, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]
    assert f"Wrote 2 pictures to {out}/" in capsys.readouterr().out
    run(tool, tiny_config, checkpoint, "--images", 1, "--out", out / "one")
    assert len(list((out / "one").iterdir())) == 1


def test_files_with_and_without_truth(tool, tiny_config, checkpoint, camvid_folder, tmp_path):
    known = camvid_folder / "img_dir" / "val" / "1.jpg"
    other = tmp_path / "other.jpg"
    shutil.copy(known, other)
    run(tool, tiny_config, checkpoint, known, other, "--out", tmp_path / "out")
    with_truth = cv2.imread(str(tmp_path / "out" / "1.png"))
    without = cv2.imread(str(tmp_path / "out" / "other.png"))
    assert with_truth.shape[1] == 2 * without.shape[1]


def test_pick_spreads_over_the_dataset(tool):
    class Numbers:
        def __len__(self):
            return 10

        def get_data_info(self, i):
            return {"img_path": str(i)}

    assert [info["img_path"] for info in tool.pick(Numbers(), [], 2)] == ["2", "7"]
    assert len(tool.pick(Numbers(), [], 99)) == 10


def test_truth_is_read_as_the_dataset_says(tool, tiny_config, camvid_folder):
    init_default_scope("mmseg")
    cfg = Config.fromfile(tiny_config).test_dataloader.dataset
    raw = cv2.imread(str(camvid_folder / "ann_dir" / "val" / "0.png"), cv2.IMREAD_UNCHANGED)
    info = DATASETS.build(cfg).get_data_info(0)
    assert np.array_equal(tool.read_truth(info, cfg.pipeline), raw)
    info["reduce_zero_label"] = True
    reduced = np.where(raw == 0, 255, raw.astype(int) - 1)
    assert np.array_equal(tool.read_truth(info, cfg.pipeline), reduced)
    assert tool.read_truth({"img_path": "a.jpg"}, cfg.pipeline) is None


def test_bad_input(tool, tiny_config, checkpoint, tmp_path, capfd):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    for argv, expected in (
        ((tmp_path / "no.py", checkpoint), "no.py does not exist"),
        ((tiny_config, tmp_path / "no.pth"), "no.pth does not exist"),
        ((tiny_config, checkpoint, "--images", 0), "--images 0 is not a positive number"),
        ((tiny_config, checkpoint, tmp_path / "no.jpg"), "no.jpg does not exist"),
        ((tiny_config, checkpoint, broken), "broken.jpg cannot be read"),
        ((tiny_config, checkpoint, "--out", broken), "--out"),
        (
            (tiny_config, checkpoint, "--cfg-options", "model.decode_head.mid_channels=8"),
            "weights.pth does not fit the model",
        ),
        ((ROOT / "configs/wavemix/cifar10.py", checkpoint), "is not a segmentation config"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(tool, *argv[:2], "--out", tmp_path / "out", *argv[2:])
        message = str(caught.value.code)
        assert message.startswith("error: ") and "\n" not in message, message
        assert expected in message
    assert "Traceback" not in capfd.readouterr().err


def test_labels_that_do_not_fit(tool, tiny_config, checkpoint, camvid_folder, tmp_path):
    data = shutil.copytree(camvid_folder, tmp_path / "data")
    label = data / "ann_dir" / "val" / "0.png"
    options = ("--out", tmp_path, "--cfg-options", f"test_dataloader.dataset.data_root={data}")
    cv2.imwrite(str(label), np.zeros((8, 8), np.uint8))
    with pytest.raises(SystemExit, match=r"0.png has the shape \(8, 8\), its image \(32, 48\)"):
        run(tool, tiny_config, checkpoint, *options)
    label.unlink()
    with pytest.raises(SystemExit, match="0.png does not exist"):
        run(tool, tiny_config, checkpoint, *options)
