"""The report's charts, tables and numbers as files for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.report import rendering, vega
from orchestrator.report.blocks import Chart, Section, Table


def write(made: Sequence[Section], folder: Path) -> list[Path]:
    """Charts as SVG, PDF and PNG, tables for LaTeX, the numbers of both as CSV.

    The charts of the fingerprints are there side by side as well, where one row holds them all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for section in made:
        charts = [block for block in section.blocks if isinstance(block, Chart) and block.rows]
        for chart in charts:
            written += _put(folder, chart.name, {**_drawn(chart.full), "csv": chart.csv()})
        for table in (block for block in section.blocks if isinstance(block, Table)):
            files: dict[str, str | bytes] = {"tex": table.latex(), "csv": table.csv()}
            written += _put(folder, table.name, files)
        row = [chart for chart in charts if chart.name in IN_A_ROW]
        if row:
            written += _put(folder, section.name, _drawn(beside(row)))
    return written


IN_A_ROW = ("fingerprint-loss", "fingerprint-error", "fingerprint-information")
"""Charts that are there together as well, where one chart has all tasks."""


def beside(charts: Sequence[Chart]) -> vega.Spec:
    """Charts in one row, each with its title and what its dashes mean."""
    whole = charts[0].full
    wanted = ("data", "height", "layer")
    panels = [
        {
            **{key: value for key, value in chart.full.items() if key in wanted},
            "title": {"text": chart.title, "subtitle": chart.caption.partition("Shaded")[0]},
            "width": rendering.WIDTH * 2 // 3,
        }
        for chart in charts
    ]
    return {
        **{key: whole[key] for key in ("$schema", "background", "config")},
        "hconcat": panels,
        "resolve": {"scale": {"strokeDash": "independent"}},
    }


def _drawn(spec: vega.Spec) -> dict[str, str | bytes]:
    return {"svg": rendering.svg(spec), "pdf": rendering.pdf(spec), "png": rendering.png(spec)}


def _put(folder: Path, name: str, files: dict[str, str | bytes]) -> list[Path]:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)  # of classes, whose names may be anything
    paths = [folder / f"{plain}.{end}" for end in files]
    for path, content in zip(paths, files.values(), strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths
