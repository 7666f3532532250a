"""What the pages name exists: links, files, verbs, packages, choices, functions."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import cluster
import search_spaces
from orchestrator import analyses
from orchestrator.arguments import VERBS, parser
from orchestrator.claims.verdicts import Verdict
from tests.conftest import ROOT
from tests.docs.pages import (
    anchors,
    blocks,
    inline,
    links,
    pages,
    prose,
    read,
    sections,
    table_rows,
)
from trainables import part

PAGES = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in pages()}
PACKAGES = ("orchestrator", "trainables", "search_spaces", "cluster")
FORBIDDEN = re.compile(
    r"pypi\.|pythonhosted|npmjs|ghcr\.io|quay\.io|docker\.io|/work/|/tmp/|/home/"
)
GLOSSARY = (
    *("arm", "cell", "commit", "digest", "final", "fingerprint", "group", "lease", "probe"),
    *("reading", "revision", "rung", "trial", "unit"),
)
QUESTIONS = (
    *("a row is written", "trial runs next", "pruner decides", "interval comes from"),
    *("lost node", "test between two arms"),
)
"""What a newcomer finds from the README within two files."""


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in links(PAGES[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_registry_or_a_place_of_one_machine(page: str) -> None:
    assert FORBIDDEN.findall(PAGES[page]) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_within_a_sentence_can_be_parsed(page: str) -> None:
    for code in inline(PAGES[page]):
        words = shlex.split(code) if code.startswith("segprint ") else []
        if words:
            assert words[1] in VERBS, f"{page}: {code}"
        if len(words) > 2:  # a verb by itself only names it
            parser().parse_args(words[1:])
        bench = re.fullmatch(r"python -m bench (\w+)", code)
        assert bench is None or (ROOT / "bench" / f"{bench[1]}.py").exists(), f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_within_a_sentence_exists(page: str) -> None:
    for code in inline(PAGES[page]):
        if re.fullmatch(rf"({'|'.join(PACKAGES)}|tests|bench|docs)/[\w/]+(\.\w+|/)?", code):
            named = "NAME" in code
            path = ROOT / (code.partition("NAME")[0] if named else code)
            assert path.exists(), f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_every_function_that_a_table_names_is_in_its_file(page: str) -> None:
    """A row with a cell `` `path.py` `` followed by one or more `` `name` ``."""
    missing: list[str] = []
    for row in table_rows(PAGES[page]):
        for file, names in itertools.pairwise(row):
            match = re.fullmatch(rf"`((?:{'|'.join(PACKAGES)})/[\w/]+\.py)`", file)
            if match is None or "NAME" in file:
                continue
            there = defined(ROOT / match[1]) if (ROOT / match[1]).exists() else set[str]()
            missing += [
                f"{match[1]} {n}" for n in re.findall(r"`([^`]+)`", names) if n not in there
            ]
    assert missing == []


def defined(path: Path) -> set[str]:
    """The functions and classes of a file, methods as ``Class.method``, and its constants."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_the_readme_is_short_and_lists_every_page() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 200
    assert set(links(readme)) >= {page for page in PAGES if page != "README.md"}


def test_the_readme_answers_a_newcomers_questions_with_a_file_and_a_function() -> None:
    rows = {row[0]: row[1:] for row in table_rows(PAGES["README.md"])}
    for question in QUESTIONS:
        (answer,) = (cells for asked, cells in rows.items() if question in asked)
        assert re.fullmatch(r"`orchestrator/[\w/]+\.py`", answer[0]), question


def test_the_tree_and_the_picture_name_every_package() -> None:
    for package in PACKAGES:
        inner = {
            path.parent.name
            for path in (ROOT / package).glob("*/__init__.py")
            if not path.parent.name.startswith("_")
        }
        for page in ("README.md", "docs/architecture.md"):
            drawn = " ".join(
                block.text for block in blocks(PAGES[page]) if block.language == "text"
            )
            missing = {name for name in inner if not re.search(rf"\b{name}\b", drawn)}
            assert missing == set(), f"{page}: {package}"


def test_the_picture_has_the_layers_of_the_import_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {
        contract["containers"][0]: contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and "containers" in contract
    }
    drawn = {b.info: b.text for b in blocks(read("docs/architecture.md")) if b.info}
    assert drawn.keys() == contracts.keys()
    for package, layers in contracts.items():
        lines = [sorted(re.findall(r"\w+", line)) for line in drawn[package].splitlines()]
        assert lines == [sorted(re.findall(r"\w+", layer)) for layer in layers], package


def test_every_choice_and_every_verb_is_named_on_a_page() -> None:
    text = "\n".join(PAGES.values())
    words = set(re.findall(r"\w+", text))
    for kind in part.KINDS:
        assert set(part.names(kind)) <= words, kind
    assert set(search_spaces.names()) <= words
    assert set(cluster.names()) <= words
    assert set(analyses.names()) <= words
    assert [verb for verb in VERBS if f"segprint {verb}" not in text] == []


def test_every_verdict_is_explained() -> None:
    said = prose(read("docs/statistics.md"))
    assert [verdict for verdict in get_args(Verdict) if f"`{verdict}`" not in said] == []


def test_the_glossary_is_in_order_and_has_the_words_of_the_program() -> None:
    words = [heading for heading, _ in sections(read("docs/glossary.md"))]
    assert words == sorted(words)
    assert set(GLOSSARY) <= set(words)
