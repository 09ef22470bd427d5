"""Tiny files in the true formats of the datasets."""

import pickle
import struct
from pathlib import Path

import cv2
import numpy as np


def write_idx(path: Path, array: np.ndarray) -> None:
    """IDX: two zero bytes, type 8 (uint8), dimensions, big-endian sizes, data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


# The folders of `write_pair`, as data_prefix of mmseg's datasets.
PAIRED = dict(img_path="img", seg_map_path="ann")


def write_pair(root: Path, name: object, image: np.ndarray, label: np.ndarray) -> None:
    """An image for segmentation and its label."""
    write_image(root / f"img/{name}.jpg", image)
    write_image(root / f"ann/{name}.png", label)


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def make_mnist(root: Path, name: str = "MNIST", n: int = 20) -> None:
    for part in ("train", "t10k"):
        write_idx(root / name / "raw" / f"{part}-images-idx3-ubyte", random_images(n, 28, 28))
        write_idx(root / name / "raw" / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)


def make_emnist(root: Path, split: str = "letters", first: int = 1, classes: int = 26) -> None:
    # the files hold each image transposed
    images = random_images(classes, 28, 28)
    for part in ("train", "test"):
        prefix = root / "EMNIST" / "raw" / f"emnist-{split}-{part}"
        write_idx(Path(f"{prefix}-images-idx3-ubyte"), images.swapaxes(1, 2))
        write_idx(Path(f"{prefix}-labels-idx1-ubyte"), np.arange(first, first + classes))


def make_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        batch = dict(data=random_images(10, 3072), labels=list(range(10)))
        (folder / name).write_bytes(pickle.dumps(batch))
    meta = dict(label_names=[f"class{i}" for i in range(10)])
    (folder / "batches.meta").write_bytes(pickle.dumps(meta))


def make_svhn(root: Path) -> None:
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    labels = np.arange(1, 11, dtype=np.uint8)[:, None]  # 10 stands for the digit 0
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", dict(X=random_images(32, 32, 3, 10), y=labels))


def make_places365(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    classes = [f"/a/class{i:03d}" for i in range(365)]
    (root / "categories_places365.txt").write_text(
        "".join(f"{name} {i}\n" for i, name in enumerate(classes))
    )
    image = random_images(256, 256, 3)
    train = [(f"/a/class{i:03d}/{i:08d}.jpg", i) for i in (0, 364)]
    val = [("Places365_val_00000001.jpg", 7)]
    for name, folder, entries in (
        ("places365_train_standard.txt", "data_256_standard", train),
        ("places365_val.txt", "val_256", val),
    ):
        (root / name).write_text("".join(f"{path} {label}\n" for path, label in entries))
        for path, _ in entries:
            write_image(root / folder / path.lstrip("/"), image)


def make_inat2021(root: Path) -> None:
    for version in ("2021_train_mini", "2021_valid"):
        for i, species in enumerate(("vulgaris", "minor")):
            folder = f"{i:05d}_Plantae_Tracheophyta_Magnoliopsida_Rosales_Rosaceae_Rosa_{species}"
            for name in ("b.jpg", "a.jpg"):
                # one gray image, as there are some
                image = random_images(40, 60, 3) if name == "a.jpg" else random_images(40, 60)
                write_image(root / version / folder / name, image)


def make_tiny_imagenet(root: Path) -> None:
    wnids = [f"n{i:08d}" for i in range(200)]
    image = random_images(64, 64, 3)
    for wnid in wnids:
        write_image(root / "train" / wnid / "images" / f"{wnid}_0.JPEG", image)
    for i in range(2):
        write_image(root / "val" / "images" / f"val_{i}.JPEG", image)
    (root / "wnids.txt").write_text("\n".join(reversed(wnids)))
    (root / "words.txt").write_text("".join(f"{wnid}\tname of {wnid}\n" for wnid in wnids))
    (root / "val" / "val_annotations.txt").write_text(
        f"val_0.JPEG\t{wnids[3]}\t0\t32\t44\t62\nval_1.JPEG\t{wnids[199]}\t0\t32\t44\t62\n"
    )


def make_galaxy10(root: Path, n: int = 40, side: int = 16) -> None:
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "Galaxy10_DECals.h5", "w") as file:
        file["images"] = random_images(n, side, side, 3)
        # three of four galaxies are of class 0
        file["ans"] = np.where(np.arange(n) % 4 == 0, np.arange(n) % 10, 0).astype(np.uint8)


def make_imagenet(root: Path) -> None:
    """The layout with lists, since that with folders needs all 1,000 of them."""
    (root / "meta").mkdir(parents=True)
    for part in ("train", "val"):
        for i in range(4):
            write_image(root / part / f"{i}.JPEG", random_images(240, 260, 3))
        lines = [f"{i}.JPEG {333 * i}\n" for i in range(4)]
        (root / "meta" / f"{part}.txt").write_text("".join(lines))


MAKERS = {
    "mnist": make_mnist,
    "fashion_mnist": lambda root: make_mnist(root, "FashionMNIST"),
    "emnist_letters": make_emnist,
    "cifar10": make_cifar10,
    "svhn": make_svhn,
    "places365": make_places365,
    "inat2021_mini": make_inat2021,
    "tiny_imagenet": make_tiny_imagenet,
    "galaxy10": make_galaxy10,
    "imagenet": make_imagenet,
}
