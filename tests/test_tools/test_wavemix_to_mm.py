"""tools/model_converters/wavemix_to_mm.py, on state dicts of the authors' networks.

Every variant that the authors publish is made by their package, with random weights. At the paper's
depths and widths only names and shapes are compared, because the outputs would take seconds.
"""

import hashlib
import http.server
import shlex
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from payload import Payload
from test_train import ROOT, run_main, sentence

from wavemix_mm.apis import init_model
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.official import convert_official, networks
from wavemix_mm.official.variants import config_options, detect_variant, find_config
from wavemix_mm.version import __version__

TOOL = "model_converters/wavemix_to_mm"
PATCH = dict(initial_conv="pachify")
STRIDED = dict(initial_conv="strided")

PATCH4, ONE = PATCH | dict(patch_size=4), STRIDED | dict(stride=1)
# File that the authors publish -> classes, width, depth, level, stem, our config: one of each size.
PUBLISHED = {
    "ImageNet/imagenet_71.49.pth": (1000, 192, 16, 3, PATCH4, "imagenet"),
    "ImageNet/wavemixlite_71.18.pth": (1000, 192, 16, 1, PATCH4, "imagenet"),
    "ImageNet/ImageNet73.03.pth": (1000, 256, 16, 3, PATCH4, "imagenet"),
    "ImageNet/imagenet4level_70.42.pth": (1000, 256, 16, 4, STRIDED | dict(stride=2), "imagenet"),
    "Places365/places365_54.94.pth": (365, 256, 12, 2, PATCH | dict(patch_size=8), "places365"),
    "galaxy10/galaxy_95.42.pth": (10, 192, 16, 3, PATCH4, "galaxy10"),
    "cifar10/cifar10_94.58.pth": (10, 144, 7, 1, ONE, "cifar10"),
    "cifar10/cifar10_95.37.pth": (10, 320, 8, 1, ONE, "cifar10"),
    "cifar100/cifar100_76.91.pth": (100, 256, 7, 1, ONE, "cifar100"),
    "tinyimagenet/tinyimagenet_62.51.pth": (200, 256, 12, 1, ONE, "tiny_imagenet"),
    "tinyimagenet/tiny_71.69.pth": (200, 192, 16, 3, PATCH4, "tiny_imagenet_in1k"),
}
# One file of each stem and level: these are converted all the way, in small.
KINDS = (
    "ImageNet/imagenet4level_70.42.pth",
    "ImageNet/wavemixlite_71.18.pth",
    "Places365/places365_54.94.pth",
    "cifar10/cifar10_94.58.pth",
    "tinyimagenet/tiny_71.69.pth",
)


@pytest.fixture
def network(official, randomize_norms):
    """A function that builds a network of theirs for classification, small by default."""

    def build(classes=10, dims=16, depth=2, level=3, stem=None, ff=None, mult=2):
        stem = stem or PATCH4
        common = dict(num_classes=classes, depth=depth, mult=mult, final_dim=dims, level=level)
        model = official.classification.WaveMix(
            ff_channel=ff or dims, dropout=0.5, **common, **stem
        )
        randomize_norms(model)
        return model.eval()

    return build


@pytest.fixture
def save(tmp_path):
    """A function that saves what it is given in a folder for sources."""

    def save(content, name="source.pth"):
        (tmp_path / "source").mkdir(exist_ok=True)
        torch.save(content, tmp_path / "source" / name)
        return tmp_path / "source" / name

    return save


def convert(capfd, *argv):
    """Run the tool; return what it printed, and its last line as config and options."""
    capfd.readouterr()
    run_main(TOOL, *argv)
    text = capfd.readouterr().out
    _, script, config, out, *options = shlex.split(text.splitlines()[-1])
    assert (script, out) == ("tools/test.py", str(argv[1]))
    assert f"config: {config}\n" in text
    return text, config, parse_options(options[1:])


def check_outputs(theirs, config, options, out, images, skip=0):
    """The config that was printed loads what was written, and computes what they do."""
    ours = init_model(config, str(out), "cpu", options)
    with torch.no_grad():
        expected, got = theirs.eval()(images)[:, skip:], ours(images, mode="tensor")
    assert got.shape == expected.shape
    assert ((expected - got).abs().max() / expected.abs().max()).item() <= 1e-5
    return ours


def at_depth(state, depth):
    """The state dict of a network of one block, with more blocks of the same shapes."""
    for i in range(1, depth):
        state = state | {
            key.replace("layers.0.", f"layers.{i}."): value
            for key, value in state.items()
            if key.startswith("layers.0.")
        }
    return state


def options_of(state, name, config):
    """The config that is found for a state dict; the options with which it builds the network."""
    converted = convert_official(state)
    variant = detect_variant(converted)
    assert find_config(variant, name) == config
    path = str(ROOT / "configs" / "wavemix" / f"{config}.py")
    options = config_options(variant, load_config(path).model)
    cfg = load_config(path, options)
    cfg.model.pop("data_preprocessor", None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
        ours = MODELS.build(cfg.model)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in converted.items()}
    return variant, options


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_classification(name, network):
    classes, dims, depth, level, stem, config = PUBLISHED[name]
    state = at_depth(network(classes, dims, 1, level, stem).state_dict(), depth)
    variant, _ = options_of(state, name, config)
    assert (variant.num_classes, variant.embed_dims) == (classes, dims)
    assert (variant.depth, variant.levels) == (depth, level)
    assert variant.patch_size == stem.get("patch_size")
    assert variant.stride == stem.get("stride", variant.stride)
    assert (variant.ff_channels, variant.mlp_ratio, variant.head) == (dims, 2, ())


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_the_published_classifications(
    name, network, save, tmp_path, capfd, monkeypatch
):
    classes, _, _, level, stem, expected_config = PUBLISHED[name]
    theirs = network(classes, 16, 2, level, stem)
    out = tmp_path / "out.pth"
    source = save(theirs.state_dict(), name.replace("/", "_"))
    monkeypatch.chdir(ROOT if level == 1 else tmp_path)
    text, config, options = convert(capfd, source, out)
    assert Path(config).is_file() and Path(config).is_absolute() == (level != 1)
    assert Path(config).stem == expected_config
    assert "outputs equal to the authors' network" in text
    side = 2**level * (stem.get("patch_size") or stem["stride"] ** 2)
    check_outputs(theirs, config, options, out, torch.randn(2, 3, side, 2 * side))


def test_the_cityscapes_network(network, save, tmp_path, capfd):
    config = "cityscapes_in1k-192-16-l3"
    full = networks.add_segmentation_head(network(1000, 192, 1, 3), (128, 64), 20)
    _, options = options_of(at_depth(full.state_dict(), 16), "any", config)
    assert options == {"model.decode_head.num_classes": 20}

    theirs = networks.add_segmentation_head(network(), (12, 6), 20)
    out = tmp_path / "new" / "cityscapes.pth"
    source = save(theirs.state_dict())
    text, printed, options = convert(capfd, source, out)
    assert Path(printed).stem == config and "model.decode_head.num_classes" not in options
    assert "void, the first of 20 outputs, dropped" in text
    ours = check_outputs(theirs, printed, options, out, torch.randn(1, 3, 32, 64), skip=1)
    meta = read_checkpoint(str(out))["meta"]
    assert meta["dataset_meta"]["classes"][:2] == ("road", "sidewalk")
    assert len(meta["dataset_meta"]["classes"]) == len(meta["dataset_meta"]["palette"]) == 19
    assert meta["dataset_meta"]["palette"][0] == [128, 64, 128]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert meta["converted_from"] == dict(source="source.pth", sha256=digest)
    assert meta["converter"] == f"wavemix_mm {__version__}"
    assert ours.dataset_meta == meta["dataset_meta"]
    side = (tmp_path / "new" / "cityscapes.pth.sha256").read_text()
    assert side == f"{hashlib.sha256(out.read_bytes()).hexdigest()}  cityscapes.pth\n"
    assert {path.name for path in out.parent.iterdir()} == {out.name, out.name + ".sha256"}


@pytest.mark.parametrize("level", [1, 4])
def test_their_segmentation_network(level, official, randomize_norms, save, tmp_path, capfd):
    theirs = official.SemSegment.WaveMix(
        num_classes=20, depth=2, mult=3, ff_channel=24, final_dim=16, level=level, stride=2
    )
    randomize_norms(theirs)
    out = tmp_path / "out.safetensors"
    wrapped = {f"module.{key}": value for key, value in theirs.state_dict().items()}
    source = save(dict(state_dict=wrapped | {"module.layers.0.xf1.h0_col": torch.zeros(2)}))
    text, config, options = convert(capfd, source, out)
    assert Path(config).stem == "cityscapes"
    assert "wavelet buffers dropped: 1; unknown keys: 0" in text
    side = 4 * 2**level
    check_outputs(theirs, config, options, out, torch.randn(1, 3, side, side), skip=1)


def test_other_classes_and_the_older_head(network, save, tmp_path, capfd):
    seven = networks.add_segmentation_head(network(7), (12, 5), 7)
    out = tmp_path / "out.pth"
    text, config, options = convert(capfd, save(seven.state_dict()), out)
    assert "does not know the names of the 7 classes" in text
    assert "dataset_meta" not in read_checkpoint(str(out))["meta"]
    check_outputs(seven, config, options, out, torch.randn(1, 3, 32, 32))
    older = networks.OlderClassification(network(3, ff=20, mult=3), 1024)
    text, config, options = convert(capfd, save(older.state_dict()), out)
    check_outputs(older, config, options, out, torch.randn(1, 3, 32, 32))


def test_a_config_of_the_users(network, save, tmp_path, capfd):
    """It decides the stride of the stem; another network is refused."""
    theirs = network(10, 16, 2, 1, STRIDED | dict(stride=2))
    config = tmp_path / "own.py"
    base = ROOT / "configs" / "wavemix" / "cifar10.py"
    config.write_text(
        f"_base_ = [{str(base)!r}]\nmodel = dict(backbone=dict(embed_dims=16, depth=2, "
        "stem=dict(stride=2)), head=dict(in_channels=16))\n"
    )
    out = tmp_path / "out.pth"
    source = save(theirs.state_dict())
    _, printed, options = convert(capfd, source, out, "--config", config)
    assert printed == str(config) and not options
    check_outputs(theirs, config, None, out, torch.randn(2, 3, 8, 8))
    before = out.read_bytes()
    config.write_text(config.read_text() + "model['backbone']['depth'] = 3\n")
    assert "does not fit the model" in sentence(capfd, TOOL, source, out, "--config", config)
    assert out.read_bytes() == before


def test_outputs_that_differ_are_refused(network, save, tmp_path, capfd, monkeypatch):
    """A converter that mixes up two tensors of one shape is caught."""
    source = save(network().state_dict())

    def mixed_up(state, drop_void=False):
        converted = convert_official(state, drop_void)
        a, b = "backbone.blocks.0.reduction.weight", "backbone.blocks.1.reduction.weight"
        return converted | {a: converted[b], b: converted[a]}

    monkeypatch.setattr("wavemix_mm.official.convert.convert_official", mixed_up)
    out = tmp_path / "new" / "out.pth"
    assert "gives other outputs than the authors' network" in sentence(capfd, TOOL, source, out)
    assert not out.parent.exists()


def test_without_the_authors_package(network, save, tmp_path, capfd, monkeypatch):
    source = save(network().state_dict())
    find_spec = networks.importlib.util.find_spec
    monkeypatch.setattr(
        networks.importlib.util,
        "find_spec",
        lambda name, *args: None if name == "wavemix" else find_spec(name, *args),
    )
    text, *_ = convert(capfd, source, tmp_path / "out.pth")
    assert "outputs not compared: the authors' package is not installed" in text
    assert (tmp_path / "out.pth").is_file()


def test_bad_sources(network, save, tmp_path, capfd):
    state = network().state_dict()
    marker, out = tmp_path / "marker", tmp_path / "new" / "out.pth"
    page = save({}, "page.pth")
    page.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
    without_block = {k: v for k, v in state.items() if not k.startswith("layers.0.")}
    without_stem = {k: v for k, v in state.items() if not k.startswith("conv.")}
    without_norm = {k: v for k, v in state.items() if "feedforward1.5.bias" not in k}
    cases = {
        page: "page.pth cannot be read: it is a web page",
        page.with_name("absent.pth"): "absent.pth does not exist",
        page.parent: "source is a folder",
        save(state | {"payload": Payload(marker)}, "code.pth"): "code.pth cannot be read: it holds",
        save(dict(other=1), "plain.pth"): "holds no state dict",
        save(state | {"surprise": torch.zeros(1)}, "key.pth"): "unknown keys: surprise",
        save(without_block, "block.pth"): "is missing",
        save(without_stem, "stem.pth"): "backbone.stem.conv2.weight is missing",
        save(without_norm, "norm.pth"): "paths.0.norm.bias (16,) is missing in the checkpoint",
    }
    for source, message in cases.items():
        said = sentence(capfd, TOOL, source, out)
        assert message in said and "--trust-checkpoint" not in said, said
    state["layers.0.reduction.bias"][0] = float("nan")
    assert "differ by nan" in sentence(capfd, TOOL, save(state, "nan.pth"), out)
    assert not marker.exists() and not out.parent.exists()


def test_bad_places_and_hashes(network, save, tmp_path, capfd):
    source = save(network().state_dict())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    out = tmp_path / "out.pth"
    assert "has the SHA-256" in sentence(capfd, TOOL, source, out, "--sha256", "0" * 64)
    assert "must end in .pth or .safetensors" in sentence(capfd, TOOL, source, tmp_path / "out.bin")
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder" in sentence(capfd, TOOL, source, tmp_path / "folder.pth")
    before = source.read_bytes()
    assert "is the source" in sentence(capfd, TOOL, source, source)
    assert source.read_bytes() == before
    (tmp_path / "file").touch()
    assert "cannot be written" in sentence(capfd, TOOL, source, tmp_path / "file" / "out.pth")
    assert "does not exist" in sentence(
        capfd, TOOL, source, out, "--config", tmp_path / "absent.py"
    )
    assert not out.exists() and not list(tmp_path.glob(".*"))
    convert(capfd, source, out, "--sha256", digest.upper())
    assert out.is_file()


def test_an_address(network, save, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    folder = save(network().state_dict(), "galaxy.pth").parent
    out, new = tmp_path / "out.pth", tmp_path / "new" / "out.pth"
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        _, config, _ = convert(capfd, f"{address}/galaxy.pth", out)
        assert "cannot be fetched" in sentence(capfd, TOOL, f"{address}/absent.pth", new)
        assert "has the SHA-256" in sentence(
            capfd, TOOL, f"{address}/galaxy.pth", new, "--sha256", "0" * 64
        )
        server.shutdown()
    assert Path(config).stem == "galaxy10"
    source = read_checkpoint(str(out))["meta"]["converted_from"]["source"]
    assert source == f"{address}/galaxy.pth"
    assert not new.parent.exists()
