"""The documentation site builds without a warning, needs no other server, and its tutorial runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=dict(os.environ, NO_MKDOCS_2_WARNING="1"),
        check=True,
        timeout=300,
    )
    return folder


def test_each_document_is_a_page_and_in_the_navigation(site):
    navigation = (ROOT / "mkdocs.yml").read_text()
    for document in (ROOT / "docs").glob("*.md"):
        assert f"docs/{document.name}\n" in navigation, document.name
        assert (site / "docs" / f"{document.stem}.html").is_file()
    assert (site / "index.html").is_file()


def test_pages_load_nothing_from_another_server(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 15
    for page in pages:
        tags = re.findall(r"<(?:script|img|iframe|source|link)\b[^>]*>", page.read_text("utf-8"))
        foreign = [tag for tag in tags if re.search(r"""\b(src|href)=["']?(https?:)?//""", tag)]
        assert tags and not [tag for tag in foreign if "canonical" not in tag], page


def test_the_reference_has_signatures_and_the_zoo_every_config(site):
    reference = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ("apis.init_model", "models.backbones.wavemix.WaveMix", "hub.from_pretrained"):
        assert f'id="wavemix_mm.{name}"' in reference, name
    zoo = (site / "model-zoo.html").read_text(encoding="utf-8")
    for folder in ("wavemix", "detection"):
        metafile = (ROOT / "configs" / folder / "metafile.yml").read_text()
        for config in (ROOT / "configs" / folder).glob("*.py"):
            if f"Name: {config.stem}\n" in metafile:
                assert f">{config.stem}</a>" in zoo, config.stem
    assert "camvid_64-6.safetensors" in zoo and "nuclei.safetensors" in zoo


def test_the_tutorial_runs(tmp_path, monkeypatch):
    """With two of its epochs: 40 take about a minute and reach the figure in the document."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = (ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8")
    for long, short in (("max_epochs = 40", "max_epochs = 2"), ("epoch_40", "epoch_2"),
                        ("interval=40", "interval=2")):  # fmt: skip
        assert long in text
        text = text.replace(long, short)
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    where = dict(metadata=dict(path=str(tmp_path)))
    NotebookClient(notebook, timeout=300, resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    (accuracy,) = re.findall(r"mIoU ([\d.]+) %", text)
    assert 0 < float(accuracy) < 100
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
