"""The models in mmpretrain's ModelHub, and weights that come with the package."""

import csv
import shutil
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
import yaml
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.apis.model import ModelHub
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from wavemix_mm.apis import init_model
from wavemix_mm.errors import UserInputError
from wavemix_mm.host import model_index

ROOT = Path(__file__).resolve().parents[2]
METAFILE = ROOT / "configs" / "wavemix" / "metafile.yml"
ENTRIES = {model["Name"]: model for model in yaml.safe_load(METAFILE.read_text())["Models"]}
CLASSIFIERS = sorted(name for name, entry in ENTRIES.items()
                     if entry["Results"][0]["Task"] == "Image Classification")  # fmt: skip


def predict_by_hand(model, gray):
    """The scores of a classifier for an image, without mmpretrain's pipeline and preprocessor."""
    pixels = torch.from_numpy(gray)[None, None].float()
    with torch.no_grad():
        feats = model.extract_feat((pixels - 127.5) / 127.5)
        return model.head(feats).softmax(1)[0]


def test_mmpretrain_api(tmp_path):
    image = str(tmp_path / "digit.png")
    gray = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    cv2.imwrite(image, gray)
    config = str(ROOT / "configs" / "wavemix" / "mnist_8-10.py")
    model = mmpretrain.get_model("mnist_8-10", pretrained=True)
    expected = predict_by_hand(init_model(config, "wavemix_mm://mnist_8-10", "cpu"), gray)
    for inferencer in (
        ImageClassificationInferencer("mnist_8-10"),
        ImageClassificationInferencer("wavemix/mnist_8-10", device="cpu"),
        ImageClassificationInferencer(config, "wavemix_mm://mnist_8-10"),
        ImageClassificationInferencer(model),
    ):
        for given in (image, cv2.imread(image)):
            (result,) = inferencer(given)
            torch.testing.assert_close(torch.tensor(result["pred_scores"]), expected)
            assert result["pred_class"] == model._dataset_meta["classes"][int(expected.argmax())]
    features = FeatureExtractor(model)(image, stage="backbone")[0]
    assert [list(feature.shape) for feature in features] == [[8, 28, 28]]
    at_random = mmpretrain.get_model("mnist_8-10").state_dict()
    assert not torch.equal(at_random["head.fc.weight"], model.head.fc.weight)
    assert mmpretrain.list_models("*wavemix*") == [f"wavemix/{name}" for name in CLASSIFIERS]
    assert len(mmpretrain.list_models()) > 500  # mmpretrain's own are there too
    names = ["mnist", "mnist_8-10", "mnist_8-10_short"]
    assert ImageClassificationInferencer.list_models("mnist*") == names


def test_changed_and_missing_weights(tmp_path, monkeypatch):
    name = "configs/wavemix/weights/mnist_8-10.safetensors"
    weights = tmp_path / name
    weights.parent.mkdir(parents=True)
    shutil.copy(METAFILE, tmp_path / "configs" / "wavemix")
    (tmp_path / "model-index.yml").write_text("Import: [configs/wavemix/metafile.yml]")
    monkeypatch.setattr(model_index, "find_root", lambda: tmp_path)
    with pytest.raises(UserInputError, match=r"mnist_8-10\.safetensors are missing"):
        mmpretrain.get_model("mnist_8-10", pretrained=True)
    weights.write_bytes((ROOT / name).read_bytes()[:-4] + bytes(4))
    with pytest.raises(UserInputError, match="are not those that were published"):
        mmpretrain.get_model("mnist_8-10", pretrained=True)


def test_there_are_classifiers():
    assert {"imagenet", "cifar10", "mnist_8-10", "cifar10_32-7"} <= set(CLASSIFIERS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_hub_has_it_by_both_names(name):
    mmpretrain.list_models()  # registers mmpretrain's own: no name is taken twice
    entry = ENTRIES[name]
    for key in (name, f"wavemix/{name}"):
        model = ModelHub.get(key)
        # an editable install sees the same file through a link
        assert Path(model.config.filename).samefile(ROOT / "configs" / "wavemix" / f"{name}.py")
        assert model.metadata.parameters == entry["Metadata"]["Parameters"]
        assert model.metadata.flops == entry["Metadata"]["FLOPs"]
        assert [result.task for result in model.results] == ["Image Classification"]
        assert model.full_model.paper["URL"].startswith("https://arxiv.org/")
        assert (ROOT / model.full_model.code["URL"]).is_file()
        assert (ROOT / model.full_model.readme).is_file()


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(CLASSIFIERS)))
def test_the_hub_has_no_segmentation_model(name):
    assert not [key for key in mmpretrain.list_models() if key in (name, f"wavemix/{name}")]
    config = (ROOT / ENTRIES[name]["Config"]).name
    weights = f'"wavemix_mm://{name}"' if ENTRIES[name].get("Weights") else "CHECKPOINT"
    for key in (name, f"wavemix/{name}", name.upper()):
        with pytest.raises(UserInputError) as caught:
            mmpretrain.get_model(key, pretrained=True)
        message = str(caught.value)
        assert message.startswith(f"{key} is a segmentation model, which mmpretrain cannot build")
        assert message.endswith(f'{config}", {weights}).') and "init_model" in message


# Small ones alone: the larger the model, the longer it takes to build and count.
@pytest.mark.parametrize("name", ["mnist_8-10", "fashion_mnist_8-5", "cifar10_32-7", "svhn_in1k"])
def test_flops(name):
    with torch.device("meta"):
        model = mmpretrain.get_model(name)
    size = {"mnist_8-10": 28, "fashion_mnist_8-5": 28, "cifar10_32-7": 32, "svhn_in1k": 128}[name]
    channels = model.backbone.stem.conv1.in_channels
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, channels, size, size, device="meta"))
    assert counter.get_total_flops() == 2 * ENTRIES[name]["Metadata"]["FLOPs"]


def test_models_with_weights_of_the_same_task_are_offered():
    with pytest.raises(
        UserInputError,
        match=r"only of: cifar10_32-7, cifar10_64-6-l3_pretrain, fashion_mnist_8-5, mnist_8-10\)",
    ):
        mmpretrain.get_model("cifar10_64-6", pretrained=True)
    with pytest.raises(UserInputError, match=r"\(only of: camvid_64-6, camvid_best\)"):
        model_index.find_weights("camvid")
    with pytest.raises(ValueError, match="Failed to find model"):  # as mmpretrain says it
        mmpretrain.get_model("cifar11")


def test_published_results_are_the_papers():
    with open(ROOT / "configs" / "wavemix" / "paper_rows.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    checked = 0
    for name, entry in ENTRIES.items():
        values = [row["value"] for row in rows
                  if row["config"] == entry["Config"] and not row["overrides"]]  # fmt: skip
        (result,) = entry["Results"]
        published = [value for key, value in result["Metrics"].items() if "(published)" in key]
        if name in ("cifar100_noaug", "tiny_imagenet_noaug"):  # columns of Table 11
            cell = f"{name.removesuffix('_noaug')}={published[0]};"
            assert any(cell in row["extra"] for row in rows if row["table"] == "11")
        elif values:
            assert published and published[0] in map(float, values), name
        else:
            assert published == [], name
        checked += bool(published)
    assert checked >= 20


@pytest.mark.parametrize("kind", ["wavemix", "detection"])
def test_shipped_weights_are_those_published(kind):
    if kind == "detection":
        pytest.importorskip("mmdet")
    entries = yaml.safe_load((METAFILE.parents[1] / kind / "metafile.yml").read_text())["Models"]
    shipped = {entry["Name"]: entry for entry in entries if entry.get("Weights")}
    folder = ROOT / "configs" / kind / "weights"
    assert {f"{name}.safetensors" for name in shipped} == {
        path.name for path in folder.glob("*.safetensors")
    }
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for name, entry in shipped.items():
        assert entry["Weights"] == f"configs/{kind}/weights/{name}.safetensors"
        assert entry["SHA256"] in readme
        file = model_index.find_weights(name)  # compares the SHA-256
        assert file.stat().st_size <= 8e6
        model = init_model(ROOT / entry["Config"], f"wavemix_mm://{name}", "cpu")
        exactly = dict(rtol=0, atol=0, check_dtype=False)  # a file may hold float16
        torch.testing.assert_close(load_file(file), dict(model.state_dict()), **exactly)
        task = entry["Results"][0]["Task"]
        if task == "Semantic Segmentation":
            assert len(model.dataset_meta["classes"]) == model.decode_head.num_classes
        elif task == "Image Classification":
            hub = mmpretrain.get_model(name, pretrained=True)
            torch.testing.assert_close(load_file(file), dict(hub.state_dict()), **exactly)
            assert len(hub._dataset_meta["classes"]) == hub.head.num_classes


def test_names_of_others_stay_theirs(monkeypatch):
    models = dict(imagenet="of another package")
    monkeypatch.setattr(ModelHub, "_models_dict", models)
    monkeypatch.setattr(ModelHub, "get", ModelHub.get)
    model_index.register_models(ModelHub)
    assert models["imagenet"] == "of another package"
    assert models["wavemix/imagenet"].name == "imagenet"


def test_package_without_configs(monkeypatch):
    models = {}
    monkeypatch.setattr(ModelHub, "_models_dict", models)
    monkeypatch.setattr(model_index, "find_root", lambda: None)
    model_index.register_models(ModelHub)
    assert models == {}
    with pytest.raises(UserInputError, match="installed without its configs"):
        model_index.find_weights("mnist_8-10")
