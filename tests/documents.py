"""What the documents consist of: code blocks, commands, names and links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "configs").rglob("README.md")),
]
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Before a block that this machine or test cannot run as it stands.
_NEEDS = re.compile(r"<!-- (?:needs|run by) (.+) -->\n\Z")
_COMMAND = re.compile(r"([A-Z_0-9]+=\S+ )*(python|bash|make|pip|torchrun|mpirun) \S")


@dataclass(frozen=True)
class Block:
    """A fenced block; `needs` is what its mark says, None without one."""

    document: Path
    line: int
    language: str
    text: str
    needs: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all documents in some languages, or in any."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            before = text[: match.start()]
            mark = _NEEDS.search(before)
            found.append(Block(document, before.count("\n") + 1, *match.groups(), mark and mark[1]))
    return [block for block in found if not languages or block.language in languages]


def spans(document: Path) -> list[str]:
    """Return the inline code of a document, each in one line."""
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield where each command stands and its words, of blocks and of inline code."""
    for block in blocks("bash", "console"):
        text = block.text.replace("\\\n", " ")
        if block.language == "console":
            text = "\n".join(re.findall(r"^\$ (.*)$", text, re.MULTILINE))
        for line in text.splitlines():
            if words := shlex.split(line, comments=True):
                yield f"{block}: {line}", words
    for document in DOCUMENTS:
        for span in spans(document):
            if _COMMAND.match(span):
                for part in span.split(" && "):
                    yield f"{document.relative_to(ROOT)}: {part}", shlex.split(part)


def links() -> Iterator[tuple[Path, str]]:
    """Yield each link to a file or heading of this repository, with its document."""
    for document in DOCUMENTS:
        prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if "://" not in target:
                yield document, target


def anchors(document: Path) -> set[str]:
    """Return what a link to each heading ends with, as GitHub makes it."""
    prose = _FENCE.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
