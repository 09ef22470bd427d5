"""What the command-line tools share: configs, this machine, one-sentence errors."""

import os
import re

import pytest
from mmengine.config import Config

from wavemix_mm.engine import messages
from wavemix_mm.engine.run import command_line
from wavemix_mm.engine.run import config as run_config
from wavemix_mm.errors import UserInputError


@pytest.mark.parametrize(
    ("error", "traceback", "kind", "message"),
    [
        (UserInputError("no such arch"), "0", SystemExit, "^error: no such arch$"),
        (UserInputError("no such arch"), "1", UserInputError, "^no such arch$"),  # on request
        (ZeroDivisionError("of ours"), "0", ZeroDivisionError, "^of ours$"),
    ],
)
def test_user_mistake_is_one_line_and_status_1(monkeypatch, error, traceback, kind, message):
    monkeypatch.setenv("WAVEMIX_MM_TRACEBACK", traceback)
    with pytest.raises(kind, match=message), command_line.cli_errors():
        raise error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("model"), "KeyError: the key 'model' is missing."),
        (KeyError("A is not in the registry. Please check whether it"), "is not in the registry."),
        (FileNotFoundError(2, "No such file", "a.pth"), "FileNotFoundError: No such file: a.pth."),
        (ValueError("two\nlines!"), "ValueError: two lines."),
        (ValueError("need at least one array to concatenate"), "a dataset found no files"),
        (RuntimeError(), "RuntimeError: no message."),
    ],
)
def test_errors_become_sentences(error, expected):
    with pytest.raises(UserInputError) as caught, messages.building("config a.py cannot be built"):
        raise error
    message = str(caught.value)
    assert message.startswith("config a.py cannot be built: ") and expected in message
    assert "\n" not in message


def test_building_leaves_user_mistakes_as_they_are():
    with pytest.raises(UserInputError, match="^levels=0$"), messages.building("config a.py"):
        raise UserInputError("levels=0")


STYLES = {  # of a base
    "text": "_base_ = ['./{0}.py', 'mmpretrain::_base_/default_runtime.py']\n",
    "import": "from mmengine.config import read_base\nwith read_base():\n    from .{0} import *\n",
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("b = dict(\n", r"SyntaxError: .*line 1\)?"),
        ("b = c\n", "NameError: name 'c' is not defined"),
        (None, ".*Error: .*"),
    ],
)
def test_error_in_a_base_names_the_base(tmp_path, style, content, error):
    if content is not None:
        (tmp_path / "base.py").write_text(content)
    for base, leaf in (("base", "middle"), ("middle", "leaf")):
        (tmp_path / f"{leaf}.py").write_text(style.format(base))
    with pytest.raises(UserInputError) as caught:
        run_config.load_config(str(tmp_path / "leaf.py"))
    start = f"config {tmp_path}/leaf.py cannot be read: its base {tmp_path}/base.py: "
    assert re.fullmatch(re.escape(start) + error + r"\.", str(caught.value))


@pytest.mark.parametrize(
    ("leaf", "error"),
    [
        ("_base_ = ['a.py', 'b.py']\n", "KeyError: Duplicate key"),
        ("a = 1\nb = dict(\n", r"SyntaxError: .*\(line 2\)"),
        ("from mmengine.config import Config\na = Config(dict(text=1))\n", "KeyError: text is res"),
    ],
)
def test_error_of_the_config_itself(tmp_path, leaf, error):
    for name, content in dict(a="x = 1\n", b="x = 1\n", leaf=leaf).items():
        (tmp_path / f"{name}.py").write_text(content)
    with pytest.raises(UserInputError, match=rf"leaf\.py cannot be read: {error}"):
        run_config.load_config(str(tmp_path / "leaf.py"))


def test_folder_is_no_config(tmp_path):
    with pytest.raises(UserInputError, match="is a folder"):
        run_config.load_config(str(tmp_path))


def test_options_are_parsed_and_merged(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("model = dict(depth=1, levels=(1, 2))\n")
    options = run_config.parse_options(
        ["model.depth=8", "model.levels=(1,3)", "work_dir=a=b", "x=1,2"]
    )
    cfg = run_config.load_config(str(path), options)
    assert cfg.model == dict(depth=8, levels=(1, 3))
    assert cfg.work_dir == "a=b" and cfg.x == [1, 2]


@pytest.mark.parametrize("option", ["depth", "=3", "a=[1,(2"])
def test_malformed_option_is_named(option):
    with pytest.raises(UserInputError) as caught:
        run_config.parse_options([option])
    assert f"--cfg-options {option}" in str(caught.value)


def test_work_dir_from_argument_config_or_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for argument, config, expected in (
        ("arg", "cfg", "arg"),
        (None, "cfg", "cfg"),
        (None, None, "./work_dirs/camvid"),
    ):
        cfg = Config(dict(work_dir=config))
        run_config.set_work_dir(cfg, argument, "configs/wavemix/camvid.py")
        assert cfg.work_dir == expected and os.path.isdir(expected)


def test_work_dir_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserInputError, match="work dir .*file/w: Not a directory"):
        run_config.set_work_dir(Config(), str(tmp_path / "file" / "w"), "a.py")


def machine_config():
    amp = dict(type="AmpOptimWrapper", loss_scale="dynamic", dtype="bfloat16", clip_grad=None)
    return Config(
        dict(
            optim_wrapper=dict(amp, type="mmengine.AmpOptimWrapper", optimizer=dict(type="AdamW")),
            custom_hooks=[dict(type="SwitchOptimizerHook", optim_wrapper=dict(amp))],
            model=dict(norm_cfg=dict(type="SyncBN"), heads=[dict(norm_cfg=dict(type="SyncBN"))]),
            train_dataloader=dict(num_workers=0, persistent_workers=True, pin_memory=True),
        )
    )


def test_without_an_accelerator_amp_and_syncbn_go_with_one_warning_each(monkeypatch, capsys):
    monkeypatch.setattr(run_config, "get_device", lambda: "cpu")
    cfg = machine_config()
    run_config.adapt_to_machine(cfg, "pytorch")
    assert cfg.optim_wrapper == dict(
        type="OptimWrapper", clip_grad=None, optimizer=dict(type="AdamW")
    )
    assert cfg.custom_hooks[0].optim_wrapper == dict(type="OptimWrapper", clip_grad=None)
    assert cfg.model.norm_cfg.type == cfg.model.heads[0].norm_cfg.type == "BN"
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.train_dataloader.pin_memory is False
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 and all(line.startswith("warning: ") for line in warnings)


@pytest.mark.parametrize(("launcher", "norm"), [("none", "BN"), ("pytorch", "SyncBN")])
def test_with_an_accelerator_amp_stays(monkeypatch, launcher, norm):
    monkeypatch.setattr(run_config, "get_device", lambda: "cuda")
    cfg = machine_config()
    run_config.adapt_to_machine(cfg, launcher)
    assert cfg.optim_wrapper == machine_config().optim_wrapper
    assert cfg.model.norm_cfg.type == norm
    assert cfg.train_dataloader.pin_memory is True
