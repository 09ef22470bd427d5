"""wavemix_mm/analysis/benchmark/dwt.py."""

import numpy as np
import pytest
import pywt
import torch

from wavemix_mm.analysis.benchmark import dwt


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transforms_give_the_sub_bands_of_pywavelets(dtype):
    x = torch.randn(2, 3, 8, 12).to(dwt.DTYPES[dtype])
    low, details = pywt.dwt2(x.double().numpy(), "haar")
    expected = np.stack((low, *details), axis=2)
    transforms = {t.name: t for t in dwt.transforms("cpu", dtype)}
    assert {"wavemix_mm", "wavemix_mm, NCHW input", "pytorch-wavelets"} <= set(transforms)
    for name, transform in transforms.items():
        if name == "ptwt" and dtype == "bfloat16":
            continue  # it has no half precision
        dwt.check(transform, "cpu", dtype)
        bands = transform.unpack(transform.run(x)).double().numpy()
        assert np.abs(bands - expected).max() < dwt.TOLERANCES[dtype] * np.abs(expected).max()


def test_a_wrong_transform_is_refused():
    transform = next(dwt.transforms("cpu", "float32"))
    wrong = dwt.Transform("wrong", transform.run, lambda bands: transform.unpack(bands).flip(2))
    with pytest.raises(ValueError, match="differs from the Haar transform"):
        dwt.check(wrong, "cpu", "float32")


def test_rows(monkeypatch):
    good = list(dwt.transforms("cpu", "float32"))
    wrong = dwt.Transform("wrong", lambda x: (x,), lambda bands: bands[0][:, :, None] * 0)
    monkeypatch.setattr(dwt, "transforms", lambda *args: [*good, wrong])
    rows = dwt.measure_transforms((1, 4, 8, 16), "float32", "cpu", rounds=2, round_seconds=0)
    by_name = {row.transform: row for row in rows}
    assert list(by_name)[-2:] == ["wrong", "PyWavelets"]
    assert by_name["wrong"].forward_ms is None and by_name["wrong"].note.startswith("RuntimeError")
    assert by_name["pytorch-wavelets"].forward_speedup == 1
    del by_name["wrong"]
    for row in by_name.values():
        assert (row.batch, row.channels, row.height, row.width) == (1, 4, 8, 16)
        assert row.forward_ms > 0 and row.both_ms > 0 and not row.note
        assert row.forward_copy_share > 0 and row.both_copy_share > 0
        assert row.both_speedup_low <= row.both_speedup <= row.both_speedup_high


def test_missing_packages(monkeypatch):
    monkeypatch.setitem(dwt.PACKAGES, "no-such-package", "no_such_module")
    assert "no-such-package" in dwt.missing_packages()
    assert "PyWavelets" not in dwt.missing_packages()
