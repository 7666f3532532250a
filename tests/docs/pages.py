"""The README and the pages of docs/: their blocks, commands, tables, links and inline code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """All pages, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def read(page: str) -> str:
    """The text of a page by its path below the root, such as ``docs/data.md``."""
    return (ROOT / page).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what else its fence says, its text and its first line."""

    language: str
    info: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The path that the first line of a Python or TOML block names: ``# lab.py``."""
        found = re.match(r"# (\S+\.(?:py|toml))\n", self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, without comments."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.partition("  #")[0].strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    for match in FENCE.finditer(text):
        language, _, info = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(language, info, match["text"], line))
    return found


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text)


def inline(text: str) -> list[str]:
    """Everything that stands in backticks outside of fenced blocks."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(text))]


def links(text: str) -> list[str]:
    """The targets of all links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}


def sections(text: str, level: str = "##") -> Iterator[tuple[str, str]]:
    """The sections of one level: heading and text."""
    parts = re.split(rf"^{level} (.+)$", text, flags=re.MULTILINE)
    yield from zip(parts[1::2], parts[2::2], strict=True)


def table_rows(text: str) -> list[list[str]]:
    """The cells of all table rows in a text, headings and rules left out."""
    lines = [line for line in prose(text).splitlines() if line.startswith("|")]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines
    ]
    rules = {i for i, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", c) for c in row)}
    heads = {i - 1 for i in rules}
    return [row for i, row in enumerate(rows) if i not in rules | heads]
