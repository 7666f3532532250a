"""Every number of the findings is in the output of a query of its section.

``test_blocks.py`` runs these queries against the published rows and compares their outputs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.docs.pages import blocks, prose, read, sections

FINDINGS = dict(sections(read("docs/findings.md")))
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+\.\d+|(?<=n = )\d+")
STUDIES = sorted(path.parent for path in (ROOT / "studies").glob("*/published.json"))
LARGEST = 20e6
"""Bytes of all published rows."""


def numbers(text: str) -> list[str]:
    return [found.replace("−", "-") for found in NUMBER.findall(text)]


def agrees(number: str, printed: str) -> bool:
    """Whether a number of a sentence is a printed one at its digits.

    A sentence may say "lower by 0.08" where a query prints −0.08, but a minus is a minus.
    """
    digits = len(number.partition(".")[2])
    value = f"{float(printed):.{digits}f}"
    return number == value or f"-{number}" == value


def words(path: Path) -> str:
    """All texts of a table."""
    table = pq.read_table(path)
    columns = [name for name in table.column_names if pa.types.is_string(table[name].type)]
    return "\n".join(str(v) for name in columns for v in pc.unique(table[name]).to_pylist())


@pytest.mark.parametrize("section", FINDINGS)
def test_every_number_is_in_the_output_of_a_query(section: str) -> None:
    text = FINDINGS[section]
    outputs = [block.text for block in blocks(text) if block.info == "output"]
    printed = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", " ".join(outputs))
    for number in numbers(re.sub(r"`[^`]*`|\]\([^)]*\)", "", prose(text))):
        assert any(agrees(number, other) for other in printed), f"{section}: {number}"


def test_published_rows_are_small_and_without_pixels_and_paths() -> None:
    files = [path for study in STUDIES for path in study.iterdir()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    assert not {path.name for path in files} & {"pictures.parquet", "logs.parquet"}
    for study in STUDIES:
        manifest = json.loads((study / "published.json").read_text(encoding="utf-8"))
        assert manifest["study"] == study.name
        for path in study.iterdir():
            texts = path.read_text(encoding="utf-8") if path.suffix != ".parquet" else words(path)
            assert not re.search(r"/(work|tmp|home|root|Users|mnt)/", texts), path


def test_every_published_study_is_in_the_findings() -> None:
    page = read("docs/findings.md")
    assert STUDIES
    for study in STUDIES:
        assert f"studies/{study.name}" in page
