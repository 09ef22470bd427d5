"""Bad samples that several processes met are counted and listed together."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.logging import MMLogger
from processes import run_in_processes

from wavemix_mm.datasets import CustomDataset
from wavemix_mm.engine.hooks import BadSampleHook
from wavemix_mm.errors import BadSampleError


@pytest.fixture
def folder(tmp_path):
    """Eight images of one class, of which 2 and 5 are truncated."""
    (tmp_path / "data" / "cat").mkdir(parents=True)
    for i in range(8):
        path = tmp_path / "data" / "cat" / f"{i}.jpg"
        cv2.imwrite(str(path), np.full((8, 8, 3), 30 * i, np.uint8))
        if i in (2, 5):
            path.write_bytes(path.read_bytes()[:-20])
    return tmp_path / "data"


def run(folder):
    """Each process takes every second sample; returns the error and what the log gets."""
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    dataset = CustomDataset(
        data_root=str(folder),
        pipeline=[dict(type="mmpretrain.LoadImageFromFile")],
        on_bad_sample="skip",
        max_bad_samples=1,
    )
    loader = SimpleNamespace(dataset=dataset)
    logger = MMLogger("run", log_file=str(folder.parent / f"{rank}.log"))
    runner = SimpleNamespace(train_dataloader=loader, logger=logger, epoch=0)
    hook = BadSampleHook()
    hook.before_train(runner)
    for i in range(rank, 8, 2):
        dataset[i]
    with pytest.raises(BadSampleError) as caught:
        hook.after_train_epoch(runner)
    dataset.max_bad_samples = 2
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    return str(caught.value), "".join(p.read_text() for p in folder.parent.glob(f"*{rank}.log"))


def test_all_processes_know_what_each_met(folder):
    (error, log), (other, _) = run_in_processes(2, run, folder)
    assert error == other and error.startswith(
        "2 samples of CustomDataset cannot be used, more than max_bad_samples=1; the first is: "
        f"image {folder}/cat/2.jpg is truncated"
    )
    assert "2 of 8 samples could not be used" in log
    assert "cat/2.jpg is truncated" in log and "cat/5.jpg is truncated" in log


def found(dataset):
    hook = BadSampleHook()
    hook.before_train(SimpleNamespace(train_dataloader=SimpleNamespace(dataset=dataset)))
    return hook._datasets


def test_datasets_are_found_inside_wrappers(folder):
    skip, stop = (CustomDataset(str(folder), on_bad_sample=how) for how in ("skip", "stop"))
    assert found(RepeatDataset(skip, 2)) == found(ConcatDataset([stop, skip])) == [skip]
    assert found(stop) == found([1, 2]) == []
