"""tools/analysis_tools/{receptive_field,occlusion,subbands,robustness}.py, as a user runs them."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_measuring import read_rows
from test_train import ROOT, load_tool, sentence


def run(tool, *argv):
    """Run a tool, and once more, which must not overwrite the results."""
    main, words = load_tool(f"analysis_tools/{tool}").main, [str(arg) for arg in argv]
    main(words)
    with pytest.raises(SystemExit, match="holds results already: name another folder"):
        main(words)


@pytest.fixture
def street(camvid_folder):
    return camvid_folder / "img_dir" / "val" / "0.jpg"


def test_receptive_field(trained, street, tmp_path, capsys):
    """The checkpoint decides the gradients, and not the impulse; random weights have a seed."""
    config, checkpoint = trained
    out = tmp_path / "out"
    run(
        "receptive_field", config, "name='with a name'", f"checkpoint={checkpoint}", config,
        f"{config} name=again", "--images", street.parent, "--number", 1, "--size", "32x48",
        "--blocks", 0, -1, "--out", out,
    )  # fmt: skip
    table = read_rows(out / "receptive_field.csv")
    assert [(row["way"], row["network"], row["block"]) for row in table] == [
        (way, name, block)
        for way in ("impulse", "gradient")
        for name in ("with a name", "tiny", "again")
        for block in ("stem", "blocks.0")
    ]
    # 3x3 twice, then a patch of 4
    assert (table[0]["height"], table[0]["width"]) == ("8", "8")
    fields = {way: np.load(out / f"receptive_field_{way}.npz") for way in ("impulse", "gradient")}
    for way, found in fields.items():
        one, other = found["with a name/blocks.0"], found["tiny/blocks.0"]
        assert one.shape == (32, 48) and np.allclose(one, other) == (way == "impulse")
        assert (other == found["again/blocks.0"]).all()
        assert cv2.imread(str(out / f"receptive_field_{way}.png")) is not None
    assert "impulse, tiny, stem: 95 % within 8 pixels, all within 8x8" in capsys.readouterr().out


def test_occlusion_of_a_region(trained, street, tmp_path, capsys):
    out = tmp_path / "out"
    run("occlusion", *trained, street, "--class", "car", "--region", "8,8,24,24",
        "--patch", "16x24", "--stride", 8, "--out", out)  # fmt: skip
    found = np.load(out / "occlusion.npz")
    assert found["effects"].shape == (3, 4) and found["tops"].tolist() == [0, 8, 16]
    assert found["pixels"].shape == (32, 48) and found["label"] == "car"
    assert cv2.imread(str(out / "occlusion.png")) is not None
    assert "car: 0." in capsys.readouterr().out


def test_occlusion_of_a_shipped_classifier(tmp_path, capsys):
    """The stroke of the digit matters more than the corner."""
    digit = ROOT / "wavemix_mm" / "web" / "examples" / "digit_7.png"
    run("occlusion", "mnist_8-10", digit, "--patch", 7, "--stride", 7, "--out", tmp_path / "out")
    effects = np.load(tmp_path / "out" / "occlusion.npz")["effects"]
    assert effects.shape == (4, 4) and effects.max() > 0.5 > abs(effects[0, 0])
    assert "7 - seven: 0.9" in capsys.readouterr().out


def test_subbands_with_ablation(trained, street, tmp_path, capsys):
    out = tmp_path / "out"
    run("subbands", *trained, street, "--ablate", "--images", 1, "--out", out)
    table = read_rows(out / "subbands.csv")
    assert [row["band"] for row in table] == ["LL", "LH", "HL", "HH"] * 2
    for level in "12":
        assert sum(float(r["share"]) for r in table if r["level"] == level) == pytest.approx(1)
    assert np.load(out / "subbands_block_0.npz")["level_2"].shape == (4, 2, 3)
    lost = read_rows(out / "ablation.csv")
    assert len(lost) == 9 and float(lost[0]["change"]) == 0 and lost[0]["metric"] == "mIoU, %"
    assert any(float(row["change"]) for row in lost)
    text = (out / "ablation.md").read_text()
    assert (
        "| level 2 |" in text
        and "tiny; test images: 1." in text
        and text.strip() in (capsys.readouterr().out)
    )
    for name in ("subbands", "subbands_block_0", "ablation"):
        assert cv2.imread(str(out / f"{name}.png")) is not None


def test_robustness_of_two_models(trained, tmp_path):
    """A strength that changes nothing has the clean figure; noise changes it."""
    config, checkpoint = trained
    other = tmp_path / "other.py"
    other.write_text(config.read_text() + "\ntest_evaluator = dict(ignore_index=10)")
    out = tmp_path / "out"
    run("robustness", config, checkpoint, other, checkpoint, "--images", 1, "--batch-size", 1,
        "--corruptions", "noise=0,80", "shift=0", "--out", out)  # fmt: skip
    table = {
        (r["model"], r["corruption"], r["strength"]): r for r in read_rows(out / "robustness.csv")
    }
    assert len(table) == 8 and {row["images"] for row in table.values()} == {"1"}
    for name in ("tiny", "other"):
        clean = table[name, "clean", ""]["value"]
        assert table[name, "noise", "0"]["value"] == table[name, "shift", "0"]["value"] == clean
        assert table[name, "noise", "80"]["value"] != clean
    assert "tiny, mIoU, % | other, mIoU, %" in (out / "robustness.md").read_text()
    assert cv2.imread(str(out / "robustness.png")) is not None


def test_images_are_spread_over_a_sorted_test_set(tmp_path):
    """The first images of a folder data set are all of one class."""
    from analyzing import choose_test_images
    from mmengine.config import Config
    from mmengine.registry import DATASETS, DefaultScope

    for name in "abc":
        (tmp_path / "test" / name).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / "test" / name / f"{i}.png"), np.zeros((4, 4, 3), np.uint8))
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / "cifar10_32-7_folder.py")
    cfg.test_dataloader.dataset.update(data_root=str(tmp_path), metainfo=dict(classes=list("abc")))
    assert choose_test_images(cfg, 3, 5) == 3 and cfg.test_dataloader.batch_size == 5
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    assert [dataset.get_data_info(i)["gt_label"] for i in range(3)] == [0, 1, 2]
    assert choose_test_images(cfg, 99, 1) == 3


@pytest.mark.parametrize(
    "tool, words, message",
    [
        ("receptive_field", ["MODEL"], "the way 'gradient' needs --images"),
        ("receptive_field", ["MODEL", "--ways", "impulse", "--blocks", "7"],
         "--blocks 7: a network has only 2 of them: stem, blocks.0"),
        ("receptive_field", ["MODEL", "MODEL", "--ways", "impulse"], "two networks are called"),
        ("receptive_field", ["MODEL", "--images", "no.jpg"], "no.jpg"),
        ("occlusion", ["MODEL", "CKPT"], "name one image after the model: there is no image"),
        ("occlusion", ["MODEL", "CKPT", "no.jpg"], "no.jpg does not exist"),
        ("occlusion", ["MODEL", "CKPT", "IMAGE", "--class", "cat"], "--class cat: the model has"),
        ("occlusion", ["MODEL", "CKPT", "IMAGE", "--region", "60,0,70,9"], "outside of the image"),
        ("occlusion", ["MODEL", "CKPT", "IMAGE", "--patch", "99"], "does not fit an image"),
        ("occlusion", ["mnist_8-10", "IMAGE", "--region", "0,0,9,9"], "is a classifier"),
        ("subbands", ["MODEL", "CKPT", "IMAGE", "--block", "1"], "--block 1: the blocks are 0 to"),
        ("robustness", ["MODEL", "CKPT", "--corruptions", "fog"], "--corruptions fog: use noise,"),
        ("robustness", ["MODEL", "CKPT", "MODEL", "CKPT"], "two models have one name"),
        ("robustness", ["MODEL"], "no weights of"),
    ],
)  # fmt: skip
def test_mistakes(tool, words, message, trained, street, tmp_path, capfd):
    places = dict(MODEL=trained[0], CKPT=trained[1], IMAGE=street)
    words = [places.get(word, word) for word in words]
    assert message in sentence(capfd, f"analysis_tools/{tool}", *words, "--out", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    "tool",
    [
        *("receptive_field", "occlusion", "subbands", "robustness", "compare", "ablate"),
        *("check_dataset", "../dataset_converters/voc_to_coco"),
    ],
)
def test_help_has_an_example(tool, capsys):
    with pytest.raises(SystemExit):
        run(tool, "--help")
    text = capsys.readouterr().out
    assert re.search(rf"^example:\n  python tools/\w+/{Path(tool).name}\.py ", text, re.M)
