"""The models in mmpretrain's ModelHub, and weights that come with the package."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.apis.model import ModelHub
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from wavemix_mm.apis import init_model
from wavemix_mm.errors import UserInputError
from wavemix_mm.host import model_index

ROOT = Path(__file__).resolve().parents[2]
METAFILE = ROOT / "configs" / "wavemix" / "metafile.yml"
ENTRIES = {model["Name"]: model for model in yaml.safe_load(METAFILE.read_text())["Models"]}
SCOPES = {name: Config.fromfile(ROOT / entry["Config"]).default_scope
          for name, entry in ENTRIES.items()}  # fmt: skip
CLASSIFIERS = sorted(name for name, scope in SCOPES.items() if scope == "mmpretrain")
DIGITS = [f"{digit} - {digit}" for digit in range(10)]

# What a user runs.
SCRIPT = """
import json, sys
import wavemix_mm
loaded = [name for name in sys.modules if name.startswith((
    "mmcv", "mmpretrain", "mmseg", "mmengine.runner", "modelindex", "safetensors"))]
wavemix_mm.connect()
import cv2, torch
from mmengine.runner import load_checkpoint
from mmpretrain import FeatureExtractor, ImageClassificationInferencer, get_model, list_models
from wavemix_mm.errors import UserInputError

config, checkpoint, image = sys.argv[1:]

def error(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except UserInputError as problem:
        return str(problem)

model = get_model("mnist_8-10", pretrained=True)
source = torch.load(checkpoint, weights_only=True)["state_dict"]
state = model.state_dict()
scores = {}
for key, inferencer in dict(
    name=ImageClassificationInferencer("mnist_8-10"),
    prefixed=ImageClassificationInferencer("wavemix/mnist_8-10", device="cpu"),
    config=ImageClassificationInferencer(config, checkpoint),
    model=ImageClassificationInferencer(model),
).items():
    (result,) = inferencer(image)
    (other,) = inferencer(cv2.imread(image))
    assert (result["pred_scores"] == other["pred_scores"]).all()
    scores[key] = [result["pred_class"], result["pred_scores"].tolist()]
weights = wavemix_mm.host.model_index.find_weights("mnist_8-10")
no_weights = error(get_model, "cifar10_64-6", pretrained=True)
weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
print(json.dumps(dict(
    loaded=loaded,
    root=wavemix_mm.__file__,
    listed=list_models("*wavemix*"),
    number=len(list_models()),
    classifiers=ImageClassificationInferencer.list_models("mnist*"),
    classes=model._dataset_meta["classes"],
    equal=state.keys() == source.keys() and all(state[k].equal(source[k]) for k in state),
    scores=scores,
    features=[list(f.shape) for f in FeatureExtractor(model)(image, stage="backbone")[0]],
    random=get_model("mnist_8-10").state_dict()["head.fc.weight"].equal(source["head.fc.weight"]),
    no_weights=no_weights,
    no_model=error(load_checkpoint, model, "wavemix_mm://cifar11"),
    changed=error(get_model, "mnist_8-10", pretrained=True),
)))
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """As a training run of mnist_8-10 writes it, with random weights."""
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / "mnist_8-10.py")
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.head.fc.weight)
    path = tmp_path_factory.mktemp("run") / "epoch_1.pth"
    meta = dict(epoch=1, dataset_meta=dict(classes=tuple(DIGITS)), cfg="work_dir = '/home/me'")
    torch.save(dict(meta=meta, state_dict=model.state_dict(), optimizer={}), path)
    return path


@pytest.fixture(scope="module")
def clone(checkpoint, tmp_path_factory):
    """A clone in which that checkpoint is published as the contributor of a model does it."""
    folder = tmp_path_factory.mktemp("clone")
    ignore = shutil.ignore_patterns("__pycache__", ".mim")
    for name in ("configs", "tools", "wavemix_mm"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("model-index.yml", "setup.py", "README.md"):
        shutil.copy2(ROOT / name, folder / name)
    out = "configs/wavemix/weights/mnist_8-10.safetensors"
    tool = "tools/model_converters/publish.py"
    (folder / out).unlink(missing_ok=True)
    lines = run(folder, folder, tool, checkpoint, out).splitlines()[-2:]
    assert lines[0] == f"    Weights: {out}"
    metafile = folder / METAFILE.relative_to(ROOT)
    kept = [line for line in metafile.read_text().splitlines()
            if not line.startswith(("    Weights:", "    SHA256:"))]  # fmt: skip
    start = kept.index("  - Name: mnist_8-10") + 1
    metafile.write_text("\n".join([*kept[:start], *lines, *kept[start:]]))
    return folder


@pytest.fixture(scope="module")
def built(clone, tmp_path_factory):
    """The folder that a wheel of it unpacks to."""
    site = tmp_path_factory.mktemp("site")
    run(clone, clone, "setup.py", "-q", "build_py", "--build-lib", site)
    assert not (site / "configs").exists()
    return site


def run(package, cwd, *arguments):
    """Run Python with the package from one folder alone; return what it prints."""
    path = [entry for entry in sys.path if entry and not Path(entry, "wavemix_mm").is_dir()]
    process = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(package), *path])},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def predict_by_hand(checkpoint, gray):
    """The scores of the model for an image, without mmpretrain's pipeline and preprocessor."""
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / "mnist_8-10.py")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    pixels = torch.from_numpy(gray)[None, None].float()
    with torch.no_grad():
        feats = model.extract_feat((pixels - 127.5) / 127.5)
    return model.head(feats).softmax(1)[0]


def test_mmpretrain_api(built, checkpoint, tmp_path):
    image = tmp_path / "digit.png"
    gray = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    cv2.imwrite(str(image), gray)
    config = built / "wavemix_mm" / ".mim" / "configs" / "wavemix" / "mnist_8-10.py"
    output = run(built, tmp_path, "-W", "ignore", "-c", SCRIPT, config, checkpoint, image)
    answer = json.loads(output.splitlines()[-1])

    assert Path(answer["root"]).is_relative_to(built)
    assert answer["loaded"] == []
    assert answer["listed"] == [f"wavemix/{name}" for name in CLASSIFIERS]
    assert answer["number"] > 500  # mmpretrain's own are there too
    assert answer["classifiers"] == ["mnist", "mnist_8-10", "mnist_8-10_short"]
    assert answer["equal"] and not answer["random"]
    assert answer["classes"] == DIGITS
    assert answer["features"] == [[8, 28, 28]]
    expected = predict_by_hand(checkpoint, gray)
    for key, (name, scores) in answer["scores"].items():
        torch.testing.assert_close(torch.tensor(scores), expected, msg=key)
        assert name == DIGITS[int(expected.argmax())]
    assert answer["no_weights"].startswith(
        "no weights of cifar10_64-6 come with wavemix_mm (only of: mnist_8-10); name a checkpoint"
    )
    assert "there is no config configs/wavemix/cifar11.py" in answer["no_model"]
    assert "mnist_8-10.safetensors are not those that were published" in answer["changed"]


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


@pytest.mark.parametrize("name", sorted(set(SCOPES) - set(CLASSIFIERS)))
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
    assert [result["Task"] for result in ENTRIES[name]["Results"]] == ["Semantic Segmentation"]


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
    with pytest.raises(UserInputError, match=r"\(only of: cifar10_32-7, mnist_8-10\)"):
        mmpretrain.get_model("cifar10_64-6", pretrained=True)
    with pytest.raises(UserInputError, match=r"\(only of: camvid_best\)"):
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


def test_shipped_weights_are_those_published():
    listed = {entry["Weights"] for entry in ENTRIES.values() if entry.get("Weights")}
    folder = ROOT / "configs" / "wavemix" / "weights"
    assert listed == {path.relative_to(ROOT).as_posix() for path in folder.glob("*.safetensors")}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    for name, entry in ENTRIES.items():
        if entry.get("Weights"):
            assert entry["Weights"] == f"configs/wavemix/weights/{name}.safetensors"
            assert entry["SHA256"] in readme
            assert (ROOT / entry["Weights"]).stat().st_size <= 8e6
            model = init_model(ROOT / entry["Config"], f"wavemix_mm://{name}", "cpu")
            shipped = load_file(model_index.find_weights(name))
            torch.testing.assert_close(shipped, dict(model.state_dict()), rtol=0, atol=0)
            if entry["Results"][0]["Task"] == "Semantic Segmentation":
                assert len(model.dataset_meta["classes"]) == model.decode_head.num_classes
                continue
            hub = mmpretrain.get_model(name, pretrained=True)
            torch.testing.assert_close(shipped, dict(hub.state_dict()), rtol=0, atol=0)
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
