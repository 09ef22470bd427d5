"""Tiny datasets, written by the test that asks for one."""

import pytest
import torchvision.datasets as tv
from tiny_files import MAKERS


@pytest.fixture
def tiny_data(tmp_path, monkeypatch):
    """A function that writes a tiny dataset and returns its root."""
    # torchvision knows the checksums of the true files: without them it looks for the files alone
    cifar = tv.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [[name, None] for name, _ in cifar.train_list])
    monkeypatch.setattr(cifar, "test_list", [[name, None] for name, _ in cifar.test_list])
    monkeypatch.setattr(cifar, "meta", cifar.meta | dict(md5=None))
    monkeypatch.setattr(
        tv.SVHN,
        "split_list",
        {k: [url, name, None] for k, (url, name, _) in tv.SVHN.split_list.items()},
    )
    places = tv.Places365
    monkeypatch.setattr(places, "_CATEGORIES_META", (places._CATEGORIES_META[0], None))
    monkeypatch.setattr(
        places,
        "_FILE_LIST_META",
        {k: (name, None) for k, (name, _) in places._FILE_LIST_META.items()},
    )

    def make(name: str, *args, **kwargs) -> str:
        root = tmp_path / name
        MAKERS[name](root, *args, **kwargs)
        return str(root)

    return make
