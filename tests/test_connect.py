"""What `import wavemix_mm` does, in fresh processes that import OpenMMLab before or after it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import ImageClassificationInferencer
from mmpretrain.apis.model import ModelHub

import wavemix_mm

ROOT = Path(__file__).resolve().parents[1]


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def run(code, *arguments):
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout.splitlines()


def test_import_is_light():
    lines = run(
        "import sys\n"
        "finders = list(sys.meta_path)\n"
        "import wavemix_mm\n"
        "heavy = {'torch', 'mmcv', 'mmcv._ext', 'mmseg', 'mmpretrain', 'mmengine.runner',\n"
        "         'wavemix_mm.models', 'modelindex', 'safetensors'}\n"
        "print(sorted(heavy & set(sys.modules)), sys.meta_path == finders)\n"
        "print(wavemix_mm.convert_official.__module__)\n"
    )
    assert lines == ["[] True", "wavemix_mm.official.convert"]


CHECK = """
from mmengine.infer import BaseInferencer
from mmengine.runner import load_checkpoint
from wavemix_mm.errors import UserInputError
errors = []
for function, *arguments in [
    (load_checkpoint, None, sys.argv[1]),
    (load_checkpoint, None, "wavemix_mm://none"),
    (type("Inferencer", (BaseInferencer,), dict.fromkeys(
        ("_init_pipeline", "visualize", "postprocess"))), None, sys.argv[2]),
]:
    try:
        function(*arguments)
    except UserInputError as error:
        errors.append(str(error))
print(*errors, sep="\\n")
"""


# Orders of import, and what else connects the plugin to mmengine.
ORDERS = [
    "import wavemix_mm",
    "import wavemix_mm, mmengine.runner.checkpoint, mmengine.infer.infer",
    "import wavemix_mm; from mmseg.apis import MMSegInferencer",
    "import wavemix_mm; from mmpretrain import get_model",
    "import mmengine.runner, wavemix_mm",
    "import mmengine.infer, wavemix_mm",
    "import mmpretrain, wavemix_mm; assert mmpretrain.list_models('wavemix/mnist_8-10')",
    "from mmengine.registry import HOOKS; HOOKS.get('wavemix_mm.NonFiniteHook')",
    "import wavemix_mm; wavemix_mm.connect()",
    "import wavemix_mm, mmengine.runner\n"
    "from mmengine.config import Config; Config.fromfile('configs/wavemix/mnist_8-10.py')",
]
# None of the orders depends on torch, whose import takes most of the time.
FORK = """
import os, sys, torch
for code in sys.argv[3:]:
    if os.fork() == 0:
        exec(code + CHECK)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def test_mmengine_reads_checkpoints_safely(tmp_path):
    marker, forged, plain = (tmp_path / name for name in ("marker", "forged.pth", "plain.pth"))
    torch.save(dict(state_dict={}, payload=Payload(marker)), forged)
    torch.save(dict(state_dict={}, meta=dict(cfg=f"open({str(marker)!r}, 'w').close()")), plain)
    lines = run(f"CHECK = {CHECK!r}\n{FORK}", forged, plain, *ORDERS)
    # without what mmengine and, where mmdet is installed, its modules print
    lines = [line for line in lines if line.startswith(("checkpoint ", "wavemix_mm://"))]
    assert len(lines) == 3 * len(ORDERS), lines
    for i, order in enumerate(ORDERS):
        refused, named, explained = lines[3 * i : 3 * i + 3]
        assert refused.startswith(f"checkpoint {forged} cannot be read: it holds "), order
        assert named == "wavemix_mm://none: there is no model of this name.", order
        assert explained.startswith(f"checkpoint {plain} was given without a config"), order
    assert not marker.exists()


def test_a_second_connect_leaves_what_others_have_registered_since(monkeypatch):
    wavemix_mm.connect()
    classification = ImageClassificationInferencer.__base__
    owners = [(Config, "_get_cfg_path"), (BaseInferencer, "_init_model"), (ModelHub, "get"),
              (classification, "__init__")]  # fmt: skip
    for owner in owners:
        monkeypatch.setattr(*owner, replacement := len)
    monkeypatch.setitem(CheckpointLoader._schemes, "https://", replacement)
    wavemix_mm.connect()
    assert CheckpointLoader._schemes["https://"] is replacement
    assert all(getattr(*owner) is replacement for owner in owners)


@pytest.mark.parametrize(
    "code",
    [
        "from wavemix_mm.engine.checkpoints.loading import read_checkpoint\n"
        "read_checkpoint('wavemix_mm://mnist_8-10')",
        "import runpy; sys.argv = ['publish', 'wavemix_mm://mnist_8-10', sys.argv[1]]\n"
        "runpy.run_path('tools/model_converters/publish.py', run_name='__main__')",
    ],
    ids=["reader", "publish"],
)
def test_shipped_weights_by_name_without_mmengines_runner(code, tmp_path):
    lines = run(f"import sys\n{code}\nprint('done')", tmp_path / "a.safetensors")
    assert lines[-1] == "done"
