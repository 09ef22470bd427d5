"""tools/visualization/qualitative.py."""

import shutil

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from test_train import ROOT, load_tool, run_main, sentence

TOOL = "visualization/qualitative"
BLUE, RED, GRAY = (0, 120, 120), (230, 30, 30), (90, 90, 90)
CLASSES = ("road", "tree", "car")
PALETTE = ((10, 200, 10), (20, 20, 220), (200, 10, 200))


@pytest.mark.parametrize("known", [True, False])
def test_panels(known, tmp_path):
    image = np.full((40, 80, 3), BLUE, np.uint8)
    truth = np.repeat(np.array([0, 1, 2, 255], np.uint8), 20)[None].repeat(40, 0)
    prediction = np.zeros_like(truth)
    prediction[:, 20:40] = 1
    path = tmp_path / "a.png"
    truth = truth if known else None
    load_tool(TOOL).draw(image, truth, prediction, CLASSES, PALETTE, 255, path)
    picture = cv2.imread(str(path))[..., ::-1].astype(int)

    def share(color):
        return (np.abs(picture - color).max(axis=-1) < 6).mean()

    panel = share(BLUE)  # the image alone has this color
    # of the panel with the errors: a half is right, a quarter wrong, a quarter does not count
    expected = {GRAY: 1 / 2, RED: 1 / 4} if known else {GRAY: 0, RED: 0}
    # three quarters of the prediction are road, and a quarter of the truth
    road, tree, car = (1, 1 / 2, 1 / 4) if known else (3 / 4, 1 / 4, 0)
    expected |= {PALETTE[0]: road, PALETTE[1]: tree, PALETTE[2]: car}
    assert panel > (0.15 if known else 0.25)
    for color, parts in expected.items():  # the legend adds a little
        assert share(color) == pytest.approx(parts * panel, rel=0.15, abs=1e-3), color


def test_draws_the_test_set_and_names_the_folder(trained, tmp_path, capsys):
    out = tmp_path / "new" / "pictures"
    run_main(TOOL, *trained, "--images", 9, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]
    assert f"Wrote 2 pictures to {out}/" in capsys.readouterr().out


def test_files_with_and_without_truth(trained, camvid_folder, tmp_path):
    known = camvid_folder / "img_dir" / "val" / "1.jpg"
    other = shutil.copy(known, tmp_path / "other.jpg")
    run_main(TOOL, *trained, known, other, "--out", tmp_path / "out")
    with_truth = cv2.imread(str(tmp_path / "out" / "1.png"))
    without = cv2.imread(str(tmp_path / "out" / "other.png"))
    assert with_truth.shape[1] == 2 * without.shape[1]


def test_pick_spreads_over_the_dataset():
    class Numbers(list):
        def get_data_info(self, i):
            return {"img_path": str(i)}

    pick = load_tool(TOOL).pick
    assert [info["img_path"] for info in pick(Numbers(range(10)), [], 2)] == ["2", "7"]
    assert len(pick(Numbers(range(10)), [], 99)) == 10


def test_truth_is_read_as_the_dataset_says(tiny_config, camvid_folder):
    init_default_scope("mmseg")
    read_truth = load_tool(TOOL).read_truth
    cfg = Config.fromfile(tiny_config).test_dataloader.dataset
    raw = cv2.imread(str(camvid_folder / "ann_dir" / "val" / "0.png"), cv2.IMREAD_UNCHANGED)
    info = DATASETS.build(cfg).get_data_info(0)
    assert np.array_equal(read_truth(info, cfg.pipeline), raw)
    info["reduce_zero_label"] = True
    reduced = np.where(raw == 0, 255, raw.astype(int) - 1)
    assert np.array_equal(read_truth(info, cfg.pipeline), reduced)


def test_mistakes(trained, camvid_folder, tmp_path, capfd):
    config, checkpoint = trained
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    data = shutil.copytree(camvid_folder, tmp_path / "data")
    cv2.imwrite(str(data / "ann_dir" / "val" / "0.png"), np.zeros((8, 8), np.uint8))
    (data / "ann_dir" / "val" / "1.png").unlink()
    here = ("--cfg-options", f"test_dataloader.dataset.data_root={data}")
    for argv, expected in (
        ((tmp_path / "no.py", checkpoint), "no.py does not exist"),
        ((config, tmp_path / "no.pth"), "no.pth does not exist"),
        ((*trained, "--images", 0), "--images 0 is not a positive number"),
        ((*trained, tmp_path / "no.jpg"), "no.jpg does not exist"),
        ((*trained, broken), "broken.jpg cannot be read"),
        ((*trained, "--out", broken), "--out"),
        (
            (*trained, "--cfg-options", "model.decode_head.mid_channels=8"),
            "epoch_1.pth does not fit the model",
        ),
        ((ROOT / "configs/wavemix/cifar10.py", checkpoint), "is not a segmentation config"),
        ((*trained, *here), "0.png has the shape (8, 8), its image (32, 48)"),
        ((*trained, data / "img_dir/val/1.jpg", *here), "1.png does not exist"),
    ):
        out = () if "--out" in argv else ("--out", tmp_path / "out")
        assert expected in sentence(capfd, TOOL, *argv[:2], *out, *argv[2:])
