"""The report: one self-contained HTML page, and the fingerprint picture beside it as PNG."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from orchestrator import figures
from orchestrator.measured import SAMPLE
from orchestrator.screen import clock, memory
from orchestrator.tables import Tables

BASELINE = "intensity"
"""The model that knows a pixel's grey level at most: what a network has to beat."""


def write(tables: Tables, path: Path) -> list[Path]:
    """Write the page, and ``*.png`` beside it; returns what was written."""
    fingerprints = tables["fingerprints"]
    written = [path]
    picture = None
    if fingerprints.num_rows:
        figure = figures.fingerprints(fingerprints)
        picture = Markup(figures.svg(figure))  # noqa: S704 - matplotlib escapes its texts
        image = path.with_name(f"{path.stem}-fingerprints.png")
        image.write_bytes(figures.png(figure))
        written.append(image)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cast("Any", {"interval": interval, "clock": clock, "memory": memory})
    )
    board = tables["leaderboard"].to_pylist()
    page = environment.get_template("report.html.j2").render(
        studies=tables.studies,
        board=board,
        verdicts=verdicts(board),
        readings=readings(tables),
        picture=picture,
        fingerprints=tables["information"].to_pylist(),
        searches=searches(tables),
        outcomes=outcomes(tables),
        provenance=provenance(tables),
    )
    path.write_text(page, encoding="utf-8")
    return written


def interval(row: dict[str, Any], name: str) -> str:
    """``0.912 [0.890, 0.931]``, or a dash where it was not measured."""
    if row.get(name) is None:
        return "–"
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def verdicts(board: list[dict[str, Any]]) -> list[str]:
    """Per task and network, whether it beats each baseline on held-out cases: either way."""
    said: list[str] = []
    for row in (r for r in board if r["model"] != BASELINE):
        bases = [
            r
            for r in board
            if r["model"] == BASELINE and (r["study"], r["task"]) == (row["study"], row["task"])
        ]
        if not bases:
            continue
        against = "; ".join(_against(row, base) for base in bases)
        said.append(
            f"{row['task']}, {row['model']} {row['arm']} (Dice {row['dice']:.3f}) {against}."
        )
    return said


def _against(row: dict[str, Any], base: dict[str, Any]) -> str:
    apart = row["dice_low"] > base["dice_high"] or base["dice_low"] > row["dice_high"]
    verb = "beats" if row["dice"] > base["dice"] else "does not beat"
    clear = "intervals apart" if apart else "intervals overlap"
    return f"{verb} {base['arm'].replace('_', ' ')} ({base['dice']:.3f}, {clear})"


def readings(tables: Tables) -> list[dict[str, Any]]:
    """Every reading of the arms that have more than their sample."""
    rows = tables["readings"].to_pylist()
    several = {(r["study"], r["cell"]) for r in rows if r["reading"] != SAMPLE}
    return [r for r in rows if (r["study"], r["cell"]) in several]


def searches(tables: Tables) -> list[dict[str, Any]]:
    """Every searched trial: what was tried, and how it went; best first within a cell."""
    trials = {row["digest"]: row for row in tables["trials"].to_pylist()}
    found: list[dict[str, Any]] = []
    for row in tables["studies"].to_pylist():
        trial = trials.get(row["digest"])
        if row["stage"] == "search" and trial is not None:
            values = json.loads(row["searched"])
            shown = ", ".join(
                f"{path.rpartition('.')[2]} {f'{v:.3g}' if isinstance(v, float) else v}"
                for path, v in sorted(values.items())
            )
            wanted = ("outcome", "score", "steps")
            found.append({**row, **{k: trial[k] for k in wanted}, "tried": shown})
    return sorted(found, key=lambda r: (r["study"], r["cell"], -(r["score"] or -1.0)))


def outcomes(tables: Tables) -> list[dict[str, Any]]:
    """What did not finish, with its reason; pruned trials are expected and only counted."""
    rows = tables["trials"].to_pylist()
    counted = Counter(row["outcome"] for row in rows)
    bad = [row for row in rows if row["outcome"] in ("failed", "diverged")]
    return [{"outcome": k, "count": v} for k, v in sorted(counted.items())] + bad


def provenance(tables: Tables) -> list[tuple[str, str]]:
    """Code, packages, devices and data that the rows came from.

    Where a trial ran is unknown if it was ended from outside: it is not mentioned then.
    """
    rows = tables["trials"].to_pylist()
    named = {
        "Code": {row["code"] for row in rows},
        "Packages": {row["packages"] for row in rows},
        "Devices": {f"{row['device']} × {row['world_size']}" for row in rows if row["device"]},
        "Data (content hashes)": {f"{row['task']} {row['data_hash']}" for row in rows},
    }
    return [(name, "; ".join(sorted(filter(None, values)))) for name, values in named.items()]
