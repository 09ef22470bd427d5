"""What the documents say is run, parsed or compared with the code."""

import argparse
import ast
import importlib
import importlib.util
import inspect
import re
import sys

import cv2
import mmengine.registry
import numpy as np
import pytest
import torch
import typer
from documents import DOCUMENTS, ROOT, anchors, blocks, commands, links, spans
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry
from mmengine.runner import Runner

import wavemix_mm.registry
from wavemix_mm.apis import init_model
from wavemix_mm.cli import VERBS, app
from wavemix_mm.cli.tools import TOOLS
from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.host.environment import STACKS

# What the documents use of other projects.
PROGRAMS = {"git", "export", "unzip", "gunzip", "tar", "sha256sum", "[", "csCreateTrainIdLabelImgs"}
OPTIONS_OF_OTHERS = {"--rdzv-backend", "--max-restarts", "--hypothesis-show-statistics"}
# Options that a config need not have before they are given: the runner's, and two of our tools.
NEW_KEYS = {*inspect.signature(Runner).parameters, "compile", "optimize", "sync_bn"}
PLACEHOLDERS = {"CONFIG": "configs/wavemix/camvid.py"}
COMMANDS = list(commands())
SETUP = ast.parse((ROOT / "setup.py").read_text())
EXTRAS = {
    key.value
    for node in SETUP.body
    if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS"
    for key in node.value.keys
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOTS = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
OURS = [value for value in vars(wavemix_mm.registry).values()
        if isinstance(value, Registry) and value.scope == "wavemix_mm"]  # fmt: skip
FILES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.py", "*.sh")
    for folder in ("wavemix_mm", "configs", "tools", "tests")
    for path in (ROOT / folder).rglob(pattern)
] + ["setup.py"]


def test_there_is_something_to_check():
    assert len(DOCUMENTS) >= 9 and len(COMMANDS) >= 60
    assert len(blocks("python")) >= 8 and len(list(links())) >= 100


def test_blocks_name_their_language():
    for block in blocks():
        assert block.language in ("bash", "console", "python", "text"), block


class Parsed(Exception):
    """The arguments of a tool were parsed."""


def parse(tool, arguments, monkeypatch):
    """Return what a tool's parser makes of a command line; SystemExit if it refuses it."""
    host = argparse.ArgumentParser.parse_args

    def parse_only(self, args=None, namespace=None):
        raise Parsed(host(self, args, namespace))

    spec = importlib.util.spec_from_file_location("documented_tool", ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.syspath_prepend((ROOT / tool).parent)
        patch.setitem(sys.modules, "documented_tool", module)
        spec.loader.exec_module(module)
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
        patch.setattr(sys, "argv", [tool, *arguments])
        with pytest.raises(Parsed) as parsed:
            module.main()
    return parsed.value.args[0]


def check_tool(tool, arguments, monkeypatch):
    assert (ROOT / tool).is_file()
    if tool.endswith(".sh"):  # which put their own arguments before those of train.py or test.py
        kind, python = re.search(r"(dist|slurm)_(train|test)\.sh", tool).groups()
        if kind == "dist":
            processes = arguments.pop(2 if python == "test" else 1)
            assert processes.isdigit()
        else:
            del arguments[:2]
        tool = f"tools/{python}.py"
    for argument in arguments:
        if argument.startswith("configs/"):
            assert list(ROOT.glob(argument)), f"{argument} does not exist"
    options = vars(parse(tool, arguments, monkeypatch))
    if options.get("cfg_options") and (ROOT / str(options.get("config"))).is_file():
        config = str(ROOT / options["config"])
        load_config(config, parse_options(options["cfg_options"]))
        known = set(Config.fromfile(config)) | NEW_KEYS
        for option in options["cfg_options"]:
            assert re.split(r"[.=]", option)[0] in known, option


def check_verb(words, monkeypatch):
    command = typer.main.get_command(app)
    if words[0].startswith("-"):
        assert words[0] in {option for param in command.params for option in param.opts}
    elif "allow_interspersed_args" in VERBS[words[0]]:
        check_tool(f"tools/{TOOLS.get(words[0], words[0])}.py", words[1:], monkeypatch)
    else:
        command.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize(("words"), [words for _, words in COMMANDS],
                         ids=[where for where, _ in COMMANDS])  # fmt: skip
def test_command(words, monkeypatch):
    """Its program exists, its arguments parse, its configs and the options for them exist."""
    words = [PLACEHOLDERS.get(word, word) for word in words]
    words = [word[1:-1] if word.startswith("[--") else word for word in words]
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # the environment
        words = words[1:]
    tools = [i for i, word in enumerate(words) if re.fullmatch(r"(tools|tests)/\S+\.(py|sh)", word)]
    if words[:3] == ["python", "-m", "pytest"]:
        files = [word for word in words[3:] if not word.startswith("-")]
        assert files and all((ROOT / file).is_file() for file in files)
    elif words[:3] == ["python", "-m", "wavemix_mm"] or words[0] == "wavemix-mm":
        check_verb(words[1:] if words[0] == "wavemix-mm" else words[3:], monkeypatch)
    elif words[:3] == ["python", "-m", "http.server"]:
        assert not words[3:] or words[3::2] == ["--bind", "--directory"]
    elif words[:2] == ["python", "-c"]:
        exec(words[2], {})
    elif words[0] == "pip":
        assert {extra for part in re.findall(r"\[([\w,]+)\]", " ".join(words))
                for extra in part.split(",")} <= EXTRAS  # fmt: skip
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets
    elif tools:
        check_tool(words[tools[0]], words[tools[0] + 1 :], monkeypatch)
    else:
        assert words[0] in PROGRAMS, f"unknown program {words[0]}"


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder with the pictures, configs and checkpoints that the scripts name."""
    folder = tmp_path_factory.mktemp("stand_ins")
    rng = np.random.default_rng(0)
    for name, size in (("street.jpg", (90, 120, 3)), ("cat.png", (32, 32, 3))):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, size, dtype=np.uint8))
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, file in (("camvid", "epoch_110.pth"), ("cifar10_32-7", "cifar10_32-7.pth")):
        model = init_model(ROOT / "configs" / "wavemix" / f"{name}.py", device="cpu")
        meta = dict(dataset_meta=dict(classes=[f"class {i}" for i in range(11)]))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / file)
    return folder


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.needs], ids=str)
def test_python_block(block, stand_ins, monkeypatch):
    """A script runs; a config is read, and each part of it fits the class that it names."""
    monkeypatch.chdir(stand_ins)
    if "import " in block.text:
        with torch.compiler.set_stance("force_eager"):  # compilers are tested with the models
            exec(compile(block.text, str(block), "exec"), {"__name__": "__main__"})
        return
    config = stand_ins / "mine.py"
    text = re.sub(r'_base_ = "\./', '_base_ = "wavemix_mm::wavemix/', block.text)
    config.write_text(text.replace(", ...)", ")"))
    cfg = Config.fromfile(config)
    scope = cfg.get("default_scope", "mmseg")
    checked = [check_part(part, scope) for part in dicts(cfg._cfg_dict) if "type" in part]
    assert checked
    if "model" in cfg:
        with DefaultScope.overwrite_default_scope(scope), torch.device("meta"):
            MODELS.build(cfg.model)


def dicts(node):
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from dicts(value)


def check_part(part, scope):
    kind = find_type(part["type"], scope)
    assert kind, f"{part['type']} is not registered"
    # read by mmengine before it builds the part
    extra = {"type", "_scope_", "_delete_", "convert_to_iter_based"}
    inspect.signature(kind).bind_partial(**{key: part[key] for key in set(part) - extra})
    return kind


def find_type(name, scope):
    own = vars(importlib.import_module(f"{scope}.registry")).values()
    for root in [*ROOTS, *(value for value in own if isinstance(value, Registry))]:
        with root.switch_scope_and_registry(scope) as registry:
            try:
                if kind := registry.get(name):
                    return kind
            except RuntimeError:
                continue
    return None


@pytest.mark.parametrize("block", [b for b in blocks() if b.needs], ids=str)
def test_marked_block(block):
    """What a mark names as running the block does read the document."""
    compile(block.text, str(block), "exec")
    for name in re.findall(r"tests/\S+\.py", block.needs):
        assert block.document.name in (ROOT / name).read_text()


def test_links():
    for document, target in links():
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{document.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{document.name}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names(document):
    """Types, options and files that stand in inline code exist."""
    tools = "".join((ROOT / file).read_text() for file in FILES if file.startswith("tools/"))
    verbs = typer.main.get_command(app).commands.values()
    tools += " ".join(option for verb in verbs for param in verb.params for option in param.opts)
    for span in spans(document):
        if match := re.match(r"wavemix_mm\.([\w.]+)", span):
            assert find_type(match[0], "mmengine") or find_object(match[0]), span
        elif match := re.match(r"--[a-z][\w-]+", span):
            assert match[0].replace("--no-", "--") in tools or match[0] in OPTIONS_OF_OTHERS, span
        elif re.fullmatch(r"[\w./-]*\w\.(py|sh)", span) and span != "mine.py":
            name = span.removeprefix("./")
            assert any(f"/{file}".endswith(f"/{name}") for file in FILES), span


def find_object(path):
    module, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ImportError:
        return getattr(importlib.import_module(module), name, None)


def test_readme_names_every_type_extra_and_version():
    for registry in OURS:
        registry.import_from_location()
        for name in registry.module_dict:
            assert re.search(rf"`(wavemix_mm\.)?{name}`", README), name
    for extra in EXTRAS:
        assert f"`{extra}`" in README, extra
    for requirement in (line for stack in STACKS.values() for line in stack.values()):
        assert f"`{requirement}`" in README, requirement
    pins = (ROOT / "requirements" / "constraints.txt").read_text()
    for package in ("torch", "torchvision"):
        (version,) = re.findall(rf"^{package}==(\S+)$", pins, re.MULTILINE)
        assert f"{package} {version}" in README
    versions = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text())
    assert f"Python {versions[0]} to {versions[-1]}" in README


def test_every_config_is_in_the_list_of_data_sets():
    text = (ROOT / "docs" / "datasets.md").read_text()
    for path in (ROOT / "configs" / "wavemix").glob("*.py"):
        assert f"`{path.name}`" in text, path.name
