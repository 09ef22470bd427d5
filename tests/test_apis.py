"""wavemix_mm.apis.init_model: models that the hosts' inference functions take, loaded safely."""

import warnings

import cv2
import mmpretrain.apis
import mmseg.apis
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from payload import Payload
from safetensors.torch import load_file
from tiny_models import CONFIGS, write_configs

from wavemix_mm.apis import init_model
from wavemix_mm.datasets.camvid import CamVidDataset
from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
from wavemix_mm.errors import UserInputError


@pytest.fixture(params=CONFIGS)
def task(request):
    return request.param


@pytest.fixture
def config(task, tmp_path):
    return write_configs(tmp_path)[task]


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8))
    return str(path)


@pytest.fixture
def checkpoint(config, tmp_path, randomize_norms):
    """Weights that are not those of a model built anew, and names of classes."""
    model = init_model(config, device="cpu")
    randomize_norms(model)
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, model.state_dict(), dict(dataset_meta=dict(classes=["x"] * 11)))
    return path


def predict(task, model, image):
    """The scores, through the host's own function."""
    if task == "segmentation":
        return mmseg.apis.inference_model(model, image).seg_logits.data
    return torch.from_numpy(mmpretrain.apis.inference_model(model, image)["pred_scores"])


def test_hosts_take_the_model(task, config, checkpoint, image):
    model = init_model(str(config), str(checkpoint), device="cpu")
    assert not model.training
    names = model.dataset_meta if task == "segmentation" else model._dataset_meta
    assert names["classes"] == ["x"] * 11
    scores = predict(task, model, image)
    assert scores.shape == ((11, 45, 60) if task == "segmentation" else (10,))
    # as the hosts' own ways give
    if task == "segmentation":
        other = mmseg.apis.init_model(str(config), device="cpu")
        other.cfg.test_pipeline = model.cfg.test_pipeline
        other.load_state_dict(load_file(checkpoint))
        expected = predict(task, other, image)
    else:
        other = mmpretrain.apis.ImageClassificationInferencer(
            str(config), pretrained=str(checkpoint), device="cpu"
        )
        expected = torch.from_numpy(other(image)[0]["pred_scores"])
    torch.testing.assert_close(expected, scores, rtol=0, atol=0)
    random = init_model(config, device="cpu")
    assert not torch.allclose(predict(task, random, image), scores)
    array = cv2.imread(image)
    torch.testing.assert_close(predict(task, model, array), scores, rtol=0, atol=0)


def test_optimized_model_in_the_hosts_functions(task, config, checkpoint, image):
    scores = [
        predict(task, init_model(config, checkpoint, device="cpu", optimize=optimized), image)
        for optimized in (False, True)
    ]
    assert scores[1].dtype == torch.float32
    torch.testing.assert_close(*scores, rtol=2e-2, atol=2e-2 * scores[0].abs().max().item())


def test_config_object_is_left_alone(task, config, checkpoint, image):
    cfg = Config.fromfile(config)
    before = cfg.pretty_text
    model = init_model(cfg, checkpoint, cfg_options={"work_dir": "elsewhere"}, device="cpu")
    predict(task, model, image)
    assert cfg.pretty_text == before


def test_has_what_the_hosts_model_has(task, config, checkpoint):
    if task == "segmentation":
        host = mmseg.apis.init_model(str(config), str(checkpoint), device="cpu")
    else:
        host = mmpretrain.apis.get_model(str(config), str(checkpoint), device="cpu")
    ours = init_model(config, checkpoint, device="cpu")
    assert type(ours) is type(host)
    assert set(vars(ours)) >= set(vars(host))
    meta = "dataset_meta" if task == "segmentation" else "_dataset_meta"
    assert getattr(ours, meta).items() >= getattr(host, meta).items()
    cfg, expected = (
        getattr(m, "cfg" if task == "segmentation" else "_config") for m in (ours, host)
    )
    assert set(cfg) >= set(expected) and cfg.filename == expected.filename
    for key in set(expected) - {"test_dataloader", "test_pipeline"}:  # steps name their scope
        assert cfg[key] == expected[key], key


def global_instances():
    """What mmengine keeps for the whole process, by class and name; loggers are made on demand."""
    owners = (DefaultScope, MessageHub, Visualizer)
    scope = DefaultScope.get_current_instance()
    return scope and scope.scope_name, [list(owner._instance_dict) for owner in owners]


@pytest.mark.parametrize("scope", [None, "mmengine", "mmseg", "mmpretrain"])
def test_toolboxes_in_turns(scope, tmp_path, image):
    """Whatever came before, and the process stays as it was."""
    configs = write_configs(tmp_path)
    if scope:
        DefaultScope.get_instance("before", scope_name=scope)
    before = global_instances()
    filters = list(warnings.filters)
    models = {}
    for name in ("segmentation", "classification", "segmentation"):
        models[name] = init_model(configs[name], device="cpu")
        assert global_instances() == before
    assert warnings.filters == filters
    for _ in range(2):
        for name, model in models.items():
            scores = predict(name, model, image)
            assert torch.isfinite(scores).all()
            torch.testing.assert_close(predict(name, model, image), scores, rtol=0, atol=0)
            assert global_instances() == before
    # the hosts' own functions afterwards; in another scope mmpretrain's finds no PackInputs
    if scope in (None, "mmpretrain"):
        other = mmpretrain.apis.ImageClassificationInferencer(str(configs["classification"]))
        assert len(other(image)) == 1
    other = mmseg.apis.MMSegInferencer(str(configs["segmentation"]))
    assert other(image)["predictions"].shape == (45, 60)


CLASSES = {"camvid": CamVidDataset.METAINFO["classes"], "own": tuple("abcdefghijk")}
COLORS = dict(zip(CLASSES["camvid"], CamVidDataset.METAINFO["palette"], strict=True))
RANDOM = np.random.RandomState(42).randint(0, 255, (11, 3)).tolist()
DRIVABLE = ("road", "car", "sky")


@pytest.mark.parametrize("task", ["segmentation"])
@pytest.mark.parametrize(
    ("dataset", "meta", "classes", "palette"),
    [
        pytest.param({}, None, CLASSES["camvid"], list(COLORS.values()), id="the data set's"),
        pytest.param(
            dict(type="wavemix_mm.CheckedSegDataset", metainfo=dict(classes=CLASSES["own"])),
            None, CLASSES["own"], RANDOM, id="own classes",
        ),
        pytest.param(
            dict(metainfo=dict(classes=DRIVABLE)), None, DRIVABLE,
            [COLORS[name] for name in DRIVABLE], id="some of the data set's classes",
        ),
        pytest.param(
            dict(metainfo=dict(classes=CLASSES["own"], palette=[[i] * 3 for i in range(11)])),
            None, CLASSES["own"], [[i] * 3 for i in range(11)], id="own colors",
        ),
        pytest.param(
            {}, dict(dataset_meta=dict(classes=DRIVABLE)), DRIVABLE,
            [COLORS[name] for name in DRIVABLE], id="classes of the checkpoint",
        ),
        pytest.param(
            {}, dict(dataset_meta=dict(classes=["x"], palette=[[1, 2, 3]])), ["x"], [[1, 2, 3]],
            id="classes and colors of the checkpoint",
        ),
        pytest.param(
            {}, dict(CLASSES=("a",), PALETTE=[[1, 2, 3]]), ("a",), [[1, 2, 3]],
            id="a checkpoint of mmseg 0.x",
        ),
        pytest.param(
            dict(type="NoSuchDataset"), dict(epoch=1), tuple(map(str, range(11))), RANDOM,
            id="nothing known",
        ),
    ],
)  # fmt: skip
def test_classes_and_colors(config, task, image, tmp_path, dataset, meta, classes, palette):
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.update(dataset)
    checkpoint = None
    if meta is not None:
        checkpoint = tmp_path / "checkpoint.pth"
        state = init_model(config, device="cpu").state_dict()
        torch.save(dict(state_dict=state, meta=meta), checkpoint)
    model = init_model(cfg, checkpoint, device="cpu")
    assert model.dataset_meta["classes"] == classes
    assert model.dataset_meta["palette"] == palette
    result = mmseg.apis.inference_model(model, image)
    if len(classes) == 11:
        picture = mmseg.apis.show_result_pyplot(model, image, result, show=False)
        assert picture.shape == (45, 60, 3)


def test_classes_of_the_dataset_where_the_checkpoint_has_none(task, config, tmp_path):
    model = init_model(config, device="cpu")
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    options = {}
    if task == "classification":  # where the classes are those of folders, the config names them
        options = {"test_dataloader.dataset.metainfo": dict(classes=["car", "pedestrian"])}
    for source in (None, tmp_path / "plain.pth"):
        model = init_model(config, source, cfg_options=options, device="cpu")
        names = model.dataset_meta if task == "segmentation" else model._dataset_meta
        assert "pedestrian" in names["classes"]


def test_payload(config, checkpoint, tmp_path, capsys):
    marker, forged = tmp_path / "marker", tmp_path / "forged.pth"
    state = init_model(config, checkpoint, device="cpu").state_dict()
    torch.save(dict(state_dict=state, payload=Payload(marker)), forged)
    with pytest.raises(UserInputError, match=r"forged\.pth cannot be read: it holds "):
        init_model(config, forged, device="cpu")
    assert not marker.exists()
    model = init_model(config, forged, device="cpu", trust_checkpoint=True)
    assert marker.exists() and "is unpickled in full" in capsys.readouterr().err
    torch.testing.assert_close(dict(model.state_dict()), dict(state), rtol=0, atol=0)


def test_hosts_own_apis_refuse_a_payload_too(task, config, tmp_path):
    marker, forged = tmp_path / "marker", tmp_path / "forged.pth"
    torch.save(dict(state_dict={}, payload=Payload(marker)), forged)
    if task == "segmentation":
        functions = [mmseg.apis.init_model, mmseg.apis.MMSegInferencer]
    else:
        functions = [mmpretrain.apis.get_model, mmpretrain.apis.ImageClassificationInferencer]
    for function in functions:
        with pytest.raises(UserInputError, match="cannot be read: it holds"):
            function(str(config), str(forged), device="cpu")
    if task == "classification":  # a model of ours, weights in the inferencer
        with pytest.raises(UserInputError, match="cannot be read: it holds"):
            mmpretrain.apis.ImageClassificationInferencer(
                init_model(config, device="cpu"), pretrained=str(forged)
            )
    assert not marker.exists()


def test_share_that_must_fit(config, checkpoint, tmp_path):
    state = dict(init_model(config, checkpoint, device="cpu").state_dict())
    keys = [key for key in state if not key.endswith("num_batches_tracked")]
    last = keys[-1]
    other = tmp_path / "other.pth"
    # batch counters do not count
    torch.save({key: state[key] for key in keys}, other)
    init_model(config, other, device="cpu")
    # a head of another size
    torch.save(state | {last: torch.zeros(77)}, other)
    with pytest.raises(UserInputError) as caught:
        init_model(config, other, device="cpu")
    assert f"has {len(keys) - 1} of the {len(keys)} tensors" in str(caught.value)
    assert f"{last}." in str(caught.value) and "\n" not in str(caught.value)
    share = (len(keys) - 1) / len(keys)
    with pytest.warns(UserWarning, match=f"1 tensors stay random: {last}"):
        model = init_model(config, other, device="cpu", min_share=share)
    torch.testing.assert_close(model.state_dict()[keys[0]], state[keys[0]], rtol=0, atol=0)
    with pytest.raises(UserInputError, match="does not fit"):
        init_model(config, other, device="cpu", min_share=share + 0.001)
    # nothing that fits is refused in any case
    torch.save({"a": torch.ones(1), "b.num_batches_tracked": torch.tensor(1)}, other)
    with pytest.raises(UserInputError, match=r"has 0 of the"):
        init_model(config, other, device="cpu", min_share=0)
    # an auxiliary part is ignored, and named
    torch.save(state | {"auxiliary.weight": torch.ones(1)}, other)
    with pytest.warns(UserWarning, match=r"1 tensors are unknown to the model: auxiliary\.weight"):
        init_model(config, other, device="cpu")


@pytest.mark.parametrize("task", ["segmentation"])
def test_steps_are_those_of_the_test_dataset(config, task, image):
    """A config may have inherited a `test_pipeline` that its own test dataset does not use."""
    cfg = Config.fromfile(config)
    resize = dict(type="Resize", scale=(30, 30), keep_ratio=False)
    cfg.test_dataloader.dataset.pipeline[1] = resize
    model = init_model(cfg, device="cpu")
    steps = [step["type"] for step in model.cfg.test_pipeline]
    assert steps == [step["type"] for step in cfg.test_dataloader.dataset.pipeline]
    assert mmseg.apis.inference_model(model, image).img_shape == (30, 30)


def test_mistakes(tmp_path, config):
    with pytest.raises(UserInputError, match=r"none\.py does not exist"):
        init_model(tmp_path / "none.py")
    with pytest.raises(UserInputError, match=r"none\.pth does not exist"):
        init_model(config, tmp_path / "none.pth")
    with pytest.raises(UserInputError, match="none of mmseg, mmpretrain, mmdet"):
        init_model(config, cfg_options=dict(default_scope="mmaction"))
    with pytest.raises(UserInputError, match="cannot be built"):
        init_model(config, cfg_options={"model.backbone.type": "NoSuchBackbone"})
