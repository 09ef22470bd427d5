"""Build a folder with a static page that runs a model in the browser, without a server.

The folder gets the page of docs/browser, the exported model, and onnxruntime-web, which npm fetches
once into the user's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a clone need not be installed

from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.errors import UserInputError

RUNTIME = "onnxruntime-web@1.30.0"
RUNTIME_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "model",
        metavar="NAME|CONFIG",
        nargs="?",
        default="camvid_64-6",
        help="default: %(default)s",
    )
    add("checkpoint", nargs="?", metavar="CKPT", help="default: the weights of the package")
    add("--out", type=Path, default=Path("browser_demo"), help="folder; default: %(default)s")
    return parser.parse_args(argv)


def fetch_runtime() -> Path:
    """Return the folder of onnxruntime-web's files, from the npm registry the first time.

    Raises:
        UserInputError: If npm is missing or fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "wavemix_mm" / RUNTIME
    if all((folder / name).is_file() for name in RUNTIME_FILES):
        return folder
    if shutil.which("npm") is None:
        raise UserInputError(
            f"npm is missing; it fetches {RUNTIME}. Install it: apt-get install npm"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work_dir:
        command = ["npm", "pack", "--silent", RUNTIME]
        done = subprocess.run(command, cwd=work_dir, capture_output=True, text=True)
        archives = list(Path(work_dir).glob("*.tgz"))
        if done.returncode or not archives:
            raise UserInputError(f"npm pack {RUNTIME} failed: {done.stderr.strip()[-500:]}")
        with tarfile.open(archives[0]) as archive:
            for name in RUNTIME_FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                part = folder / f"{name}.part"
                part.write_bytes(member.read())
                part.replace(folder / name)
    return folder


def build(model: str, checkpoint: str | None, out: Path) -> None:
    """Write the page, the model and the runtime into a folder."""
    from wavemix_mm.cli.model_arguments import split_model
    from wavemix_mm.deployment.export import ExportOptions, export_model

    if not (ROOT / "docs" / "browser").is_dir():
        raise UserInputError("the page is in docs/browser of a clone, which is missing here.")
    runtime = fetch_runtime()
    config, weights, _ = split_model([model, *([checkpoint] if checkpoint else [])])
    out.mkdir(parents=True, exist_ok=True)
    report = export_model(config, weights, out / "model.onnx", ExportOptions(preprocess=True))
    meta = {
        key: json.loads(value) if value[:1] in "[{" else value
        for key, value in report.metadata.items()
    }
    kind = "digit" if meta["channel_order"] == "gray" else "vehicle"
    kind = "street" if meta["task"] == "segmentation" else kind
    example = sorted((ROOT / "wavemix_mm" / "web" / "examples").glob(f"{kind}_*"))[0]
    meta["example"] = example.name
    (out / "model.json").write_text(json.dumps(meta))
    sources = [example, *(ROOT / "docs" / "browser").glob("*.*")]
    for source in [*sources, *(runtime / name for name in RUNTIME_FILES)]:
        shutil.copyfile(source, out / source.name)
    print(f"python -m http.server --bind 127.0.0.1 --directory {out}  # then open its address")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with cli_errors():
        build(args.model, args.checkpoint, args.out)


if __name__ == "__main__":
    main()
