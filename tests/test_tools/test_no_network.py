"""Nothing is fetched unless asked for: import, training, test and prediction open no connection."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# An audit hook cannot be removed, and sees what C code asks of Python's socket module too.
BLOCKED = """
import runpy, sys
def refuse(event, args):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(args[1], tuple):
        print("asked for the network:", event, args, file=sys.stderr, flush=True)
        raise SystemExit(99)
sys.addaudithook(refuse)
"""


def run_without_network(code, *argv):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *map(str, argv)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_the_check_sees_a_download():
    code = "import torch; torch.hub.download_url_to_file('http://example.com/a', sys.argv[1])"
    process = run_without_network(code, "/dev/null")
    assert process.returncode == 99 and "asked for the network" in process.stderr


def test_training_and_test(tiny_config, tmp_path):
    code = """
train, test, config, folder = sys.argv[1:]
sys.argv = [train, config, "--work-dir", folder, "--cfg-options", "train_cfg.max_epochs=1",
            "train_dataloader.num_workers=1"]
runpy.run_path(train, run_name="__main__")
sys.argv = [test, config, folder + "/epoch_1.pth", "--work-dir", folder]
runpy.run_path(test, run_name="__main__")
"""
    tools = [ROOT / "tools" / name for name in ("train.py", "test.py")]
    process = run_without_network(code, *tools, tiny_config, tmp_path)
    assert process.returncode == 0, process.stderr
    assert "mIoU" in process.stdout + process.stderr


def test_shipped_weights():
    code = """
from wavemix_mm.apis import init_model
init_model("configs/wavemix/mnist_8-10.py", "wavemix_mm://mnist_8-10", "cpu")
"""
    process = run_without_network(code)
    assert process.returncode == 0, process.stderr


def test_no_config_names_an_address():
    paths = list(ROOT.glob("configs/**/*.py"))
    assert paths and not [path for path in paths if "://" in path.read_text(encoding="utf-8")]
