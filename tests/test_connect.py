"""What `import wavemix_mm` does, in fresh processes that import OpenMMLab before or after it."""

import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import ImageClassificationInferencer
from mmpretrain.apis.model import ModelHub
from payload import Payload

import wavemix_mm

ROOT = Path(__file__).resolve().parents[1]


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
        errors.append(f"error: {error}")
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
# None of these depends on torch and torchvision, whose imports take most of the time.
FORK = """
import os, sys, torch, torch.distributed.optim, torchvision
for code in CODES:
    if os.fork() == 0:
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, code
"""


def run_forks(codes, *arguments):
    return run(f"CODES = {codes!r}\n{FORK}", *arguments)


def test_mmengine_reads_checkpoints_safely(tmp_path):
    marker, forged, plain = (tmp_path / name for name in ("marker", "forged.pth", "plain.pth"))
    torch.save(dict(state_dict={}, payload=Payload(marker)), forged)
    torch.save(dict(state_dict={}, meta=dict(cfg=f"open({str(marker)!r}, 'w').close()")), plain)
    lines = run_forks([f"{code}\n{CHECK}" for code in ORDERS], forged, plain)
    lines = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
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


def test_parts_alone(tmp_path):
    """Weights by name without mmengine's runner, models without a toolbox, types by name."""
    codes = [
        "from wavemix_mm.engine.checkpoints.loading import read_checkpoint\n"
        "read_checkpoint('wavemix_mm://mnist_8-10')",
        "import runpy; sys.argv = ['publish', 'wavemix_mm://mnist_8-10', sys.argv[1]]\n"
        "runpy.run_path('tools/model_converters/publish.py', run_name='__main__')",
        "sys.modules |= dict.fromkeys(('mmseg', 'mmpretrain', 'mmdet', 'mmcv', 'pywt'))\n"
        "from wavemix_mm.models.backbones import WaveMix\n"
        "from wavemix_mm.models.necks import WaveletPyramid\n"
        "features = WaveMix(embed_dims=8, depth=1)(torch.rand(1, 3, 8, 8))\n"
        "assert features[0].shape == (1, 8, 2, 2)\n"
        "maps = WaveletPyramid(8, 4, num_outs=2)(features)\n"
        "assert [x.shape for x in maps] == [(1, 4, 2, 2), (1, 4, 1, 1)]",
        "from mmseg.registry import MODELS; from mmengine.registry import init_default_scope\n"
        "init_default_scope('mmseg')\n"
        "net = MODELS.build(dict(type='wavemix_mm.WaveMix', embed_dims=8, depth=1))\n"
        "assert type(net).__module__ == 'wavemix_mm.models.backbones.wavemix'",
        # mmseg's functions, which know us by the config alone
        "from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot\n"
        "config, image, out = 'configs/wavemix/camvid_64-6.py', sys.argv[2], sys.argv[3]\n"
        "weights = 'configs/wavemix/weights/camvid_64-6.safetensors'\n"
        "model = init_model(config, weights, device='cpu')\n"
        "result = inference_model(model, image)\n"
        "show_result_pyplot(model, image, result, show=False, out_file=out)\n"
        "labels = result.pred_sem_seg.data[0].numpy()\n"
        "assert labels.shape == (352, 480) and model.dataset_meta['classes'][3] == 'road'\n"
        "predictions = MMSegInferencer(config, weights, device='cpu')(image)['predictions']\n"
        "assert (predictions == labels).all()",
    ]
    out = tmp_path / "a.safetensors", tmp_path / "painted.png"
    run_forks(codes, out[0], ROOT / "wavemix_mm" / "web" / "examples" / "street_1.jpg", out[1])
    assert out[0].is_file() and out[1].is_file()
