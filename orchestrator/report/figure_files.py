"""Writes the report's charts, tables and numbers as files for a paper."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.report import rendering, vega
from orchestrator.report.blocks import Chart, Section, Table
from orchestrator.report.printed_table import PrintedTable

IN_ONE_ROW = ("fingerprint-loss", "fingerprint-error", "fingerprint-information")
"""Charts that are also written as one figure, where each covers all tasks."""


def write_figures(
    sections: Sequence[Section], printed: Sequence[PrintedTable], folder: Path
) -> list[Path]:
    """Write charts as SVG, PDF and PNG, tables as LaTeX, and the numbers of both as CSV.

    ``printed`` are tables for a paper, which are also written as Markdown. Returns the paths of the
    files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for table in printed:
        texts = {"tex": table.latex(), "md": table.markdown(), "csv": table.csv()}
        written += _write(folder, table.name, {**texts}, written)
    for section in sections:
        charts = [block for block in section.all_blocks if isinstance(block, Chart) and block.rows]
        for chart in charts:
            content = {**_images(chart.full), "csv": chart.csv()}
            written += _write(folder, chart.name, content, written)
        for table in (block for block in section.all_blocks if isinstance(block, Table)):
            files: dict[str, str | bytes] = {"tex": table.latex(), "csv": table.csv()}
            written += _write(folder, table.name, files, written)
        row = [chart for chart in charts if chart.name in IN_ONE_ROW]
        if row:
            written += _write(folder, section.name, _images(_in_one_row(row)), written)
    return written


def _in_one_row(charts: Sequence[Chart]) -> vega.Spec:
    """Return charts side by side, each with its title and the key to its dashes."""
    first = charts[0].full
    panels = [
        {
            **{key: value for key, value in chart.full.items() if key in PANEL_KEYS},
            "title": {"text": chart.title, "subtitle": chart.key},
            "width": rendering.WIDTH * 2 // 3,
        }
        for chart in charts
    ]
    return {
        **{key: first[key] for key in ("$schema", "background", "config")},
        "hconcat": panels,
        "resolve": {"scale": {"strokeDash": "independent"}},
    }


PANEL_KEYS = ("data", "height", "layer")


def _images(spec: vega.Spec) -> dict[str, str | bytes]:
    return {"svg": rendering.svg(spec), "pdf": rendering.pdf(spec), "png": rendering.png(spec)}


def _write(
    folder: Path, name: str, files: Mapping[str, str | bytes], written: Sequence[Path]
) -> list[Path]:
    """Write files of one name; a number is added where it was written for another name."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name)  # class names may contain any character
    stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    every = ([folder / f"{stem}.{extension}" for extension in files] for stem in stems)
    paths = next(paths for paths in every if not set(paths) & set(written))
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths
