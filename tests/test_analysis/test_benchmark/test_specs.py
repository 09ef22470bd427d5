"""wavemix_mm/analysis/benchmark/specs.py."""

from pathlib import Path

import pytest

from wavemix_mm.analysis.benchmark.specs import parse_spec, read_list
from wavemix_mm.errors import UserInputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "name, package",
    [
        ("cityscapes_256x512", "wavemix"),
        ("fcn_r50-d8_4xb2-80k_cityscapes-512x1024", "fcn"),
        ("resnet18_8xb32_in1k", "resnet"),
    ],
)
def test_a_config_is_found_by_its_name(name, package):
    spec = parse_spec(name)
    assert (spec.kind, spec.name) == ("config", name)
    assert Path(spec.target).is_file() and Path(spec.target).parent.name == package


def test_a_model_of_mmpretrain_whose_config_has_another_name():
    spec = parse_spec("vit-base-p16_in21k-pre_3rdparty_in1k-384px")
    assert Path(spec.target).name == "vit-base-p16_64xb64_in1k-384px.py"


def test_options_and_label():
    spec = parse_spec("cityscapes name=a/b model.backbone.levels=[1,3] model.backbone.depth=2")
    assert spec.name == "a/b"
    assert spec.options == {"model.backbone.levels": [1, 3], "model.backbone.depth": 2}
    unnamed = parse_spec("timm:resnet18 num_classes=7")
    assert (unnamed.kind, unnamed.target) == ("timm", "resnet18")
    assert unnamed.name == "timm:resnet18 num_classes=7"


def test_the_authors_network_of_a_config_is_told_from_ours():
    ours, theirs = parse_spec("cityscapes name=A"), parse_spec("official:cityscapes name=A")
    assert theirs.kind == "official" and theirs.target == ours.target
    assert theirs.name != ours.name


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        ("cityscapes 'name", "No closing quotation"),
        ("cityscapes depth", "not of the form KEY=VALUE"),
        ("cityscape", "did you mean cityscapes"),
        ("official:cityscape", "did you mean cityscapes"),
    ],
)
def test_bad_names(text, message):
    with pytest.raises(UserInputError, match=message) as error:
        parse_spec(text)
    assert "\n" not in str(error.value)


def test_list_file(tmp_path):
    path = tmp_path / "models.txt"
    path.write_text("# all\n\ncityscapes name=A  # the large one\ntimm:resnet18\n")
    assert read_list(str(path)) == ["cityscapes name=A", "timm:resnet18"]
    path.write_text("# none\n")
    with pytest.raises(UserInputError, match="names no model"):
        read_list(str(path))
    with pytest.raises(UserInputError, match="No such file"):
        read_list(str(tmp_path / "other.txt"))


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "benchmarks").glob("*.txt")), ids=str)
def test_every_line_of_our_lists_names_a_model(path):
    specs = [parse_spec(line) for line in read_list(str(path))]
    assert len(specs) > 5
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(Path(spec.target).is_file() for spec in specs)
