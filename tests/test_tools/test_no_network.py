"""Nothing is fetched unless asked for: import, training, test and prediction open no connection."""

import subprocess
import sys

from processes import exit_status
from test_train import ROOT, run_main

# An audit hook cannot be removed, and sees what C code asks of Python's socket module too.
BLOCKED = """
import sys
def refuse(event, args):
    if event == "socket.getaddrinfo" or event == "socket.connect" and isinstance(args[1], tuple):
        print("asked for the network:", event, args, file=sys.stderr, flush=True)
        raise SystemExit(99)
sys.addaudithook(refuse)
"""


def test_import_and_shipped_weights():
    """The download at the end shows that the hook sees one."""
    code = """
from wavemix_mm.apis import init_model
init_model("configs/wavemix/mnist_8-10.py", "wavemix_mm://mnist_8-10", "cpu")
import torch
print("no connection until here", file=sys.stderr)
torch.hub.download_url_to_file("http://example.com/a", "/dev/null")
"""
    process = subprocess.run(
        [sys.executable, "-c", BLOCKED + code], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 99, process.stderr
    assert "no connection until here\nasked for the network" in process.stderr


def train_and_test(config, folder):
    exec(BLOCKED)
    options = ["--cfg-options", "train_cfg.max_epochs=1", "train_dataloader.num_workers=1"]
    run_main("train", config, "--work-dir", folder, *options)
    run_main("test", config, folder / "epoch_1.pth", "--work-dir", folder)


def test_training_and_test(tiny_config, tmp_path):
    assert exit_status(train_and_test, tiny_config, tmp_path) == 0


def test_no_config_names_an_address():
    paths = list(ROOT.glob("configs/**/*.py"))
    texts = [path.read_text(encoding="utf-8").replace("wavemix_mm://", "") for path in paths]
    assert paths and not [path for path, text in zip(paths, texts, strict=True) if "://" in text]
