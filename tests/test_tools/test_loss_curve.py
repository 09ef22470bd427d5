"""tools/visualization/loss_curve.py."""

import json

import cv2
import numpy as np
import pytest
from test_train import load_tool

from wavemix_mm.errors import UserInputError

tool = load_tool("visualization/loss_curve")


def log(work_dir, stamp, *entries):
    path = work_dir / stamp / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def train(epoch, step, loss):
    return dict(lr=0.1, loss=loss, epoch=epoch, iter=step, step=step)


def validate(epoch, miou):
    return dict(aAcc=50.0, mIoU=miou, step=epoch)


def test_a_resumed_run_replaces_what_it_repeats(tmp_path):
    log(
        tmp_path, "20260101_000000",
        train(1, 10, 3.0), validate(1, 10.0), train(2, 20, 2.0), validate(2, 20.0), train(3, 30, 9),
    )  # fmt: skip
    path = log(tmp_path, "20260101_010000", train(2, 20, 1.5), validate(2, 25.0))
    losses, metrics, unit = tool.read_scalars(tmp_path)
    assert losses == {10: 3.0, 20: 1.5}
    assert metrics == {"mIoU": {1: 10.0, 2: 25.0}} and unit == "epoch"
    # a run that starts anew, and was killed while it wrote
    path = log(tmp_path, "20260101_020000", train(1, 5, 4.0))
    path.write_text(path.read_text() + '{"loss": 1.')
    assert tool.read_scalars(tmp_path) == ({5: 4.0}, {}, "epoch")


@pytest.mark.parametrize(("name", "value"), [("accuracy/top1", 75.0), ("coco/segm_mAP", 0.75)])
def test_iterations_and_other_metrics(tmp_path, name, value):
    log(tmp_path, "a", dict(loss=2.0, iter=50, step=50), {name: value, "step": 100})
    assert tool.read_scalars(tmp_path) == ({50: 2.0}, {name: {100: 75.0}}, "iteration")


# a range that gives a thin margin
@pytest.mark.parametrize("validations", [[], [validate(5, 64.0), validate(10, 65.0)]])
def test_draws_a_picture(tmp_path, capsys, validations):
    import matplotlib.pyplot as plt

    log(tmp_path, "a", *(train(i, 10 * i, 3.0 / i) for i in range(1, 6)), *validations)
    out, options = tmp_path / "loss_curve.png", []  # as by default
    if validations:
        out = tmp_path / "new" / "curve.png"
        options = ["--out", str(out)]
    tool.main([str(tmp_path), *options])
    assert f"Wrote {out}" in capsys.readouterr().out
    picture = cv2.imread(str(out))
    assert picture.shape[1] > 800
    # the line's blue
    assert np.any((picture[..., 0] > 150) & (picture[..., 2] < 60))
    if validations:  # the highest value is inside
        low, high = plt.gcf().axes[1].get_ylim()
        assert low == 0 and high > 65 + 2
    plt.close("all")


def test_bad_input(tmp_path):
    with pytest.raises(UserInputError, match="no run was logged there"):
        tool.read_scalars(tmp_path)
    path = log(tmp_path, "a", validate(1, 10.0))
    with pytest.raises(UserInputError, match="hold no loss"):
        tool.read_scalars(tmp_path)
    path.write_text("not json\n" + path.read_text())
    with pytest.raises(UserInputError, match="line 1 is not JSON"):
        tool.read_scalars(tmp_path)
    with pytest.raises(SystemExit) as caught:
        tool.main([str(tmp_path / "nothing")])
    assert str(caught.value.code).startswith("error: ") and "nothing" in str(caught.value.code)
