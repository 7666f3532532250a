"""The report: one self-contained HTML page, and the fingerprint picture beside it as PNG."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from orchestrator import figures
from orchestrator.analyses.fingerprints import summaries
from orchestrator.screen import clock
from orchestrator.tables import Tables

BASELINE = "intensity"
"""The model that knows a pixel's grey level only: what a network has to beat."""


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
    environment.filters.update(cast("Any", {"interval": interval, "clock": clock}))
    board = tables["leaderboard"].to_pylist()
    page = environment.get_template("report.html.j2").render(
        studies=tables.studies,
        board=board,
        verdicts=verdicts(board),
        picture=picture,
        fingerprints=summaries(tables) if fingerprints.num_rows else [],
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
    """Per task, whether each network beats the grey level on held-out tiles: either way."""
    said: list[str] = []
    for base in (row for row in board if row["model"] == BASELINE):
        for row in board:
            if row["study"] != base["study"] or row["task"] != base["task"] or row is base:
                continue
            gain = row["dice"] - base["dice"]
            clear = "intervals apart" if _apart(row, base) else "intervals overlap"
            verb = "beats" if gain > 0 else "does not beat"
            said.append(
                f"{row['task']}: {row['arm']} {verb} the grey level,"
                f" Dice {row['dice']:.3f} against {base['dice']:.3f} ({clear})."
            )
    return said


def _apart(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["dice_low"] > b["dice_high"] or b["dice_low"] > a["dice_high"]


def searches(tables: Tables) -> list[dict[str, Any]]:
    """Every searched trial: what was tried, and how it went; best first within a cell."""
    trials = {row["digest"]: row for row in tables["trials"].to_pylist()}
    found: list[dict[str, Any]] = []
    for row in tables["studies"].to_pylist():
        trial = trials.get(row["digest"])
        if row["stage"] == "search" and trial is not None:
            settings = json.loads(row["config"])["mode"]["diffusion"]
            ((schedule, numbers),) = settings["schedule"].items()
            shown = {k: v for k, v in numbers.items() if isinstance(v, float)}
            found.append(
                {
                    **row,
                    **{k: trial[k] for k in ("outcome", "score", "steps")},
                    "schedule": schedule,
                    "numbers": ", ".join(f"{k} {v:.3g}" for k, v in shown.items()),
                    "range": f"{settings['t_low']:.2f} to {settings['t_high']:.2f}",
                }
            )
    return sorted(found, key=lambda r: (r["study"], r["cell"], -(r["score"] or -1.0)))


def outcomes(tables: Tables) -> list[dict[str, Any]]:
    """What did not finish, with its reason; pruned trials are expected and only counted."""
    rows = tables["trials"].to_pylist()
    counted = Counter(row["outcome"] for row in rows)
    bad = [row for row in rows if row["outcome"] in ("failed", "diverged")]
    return [{"outcome": k, "count": v} for k, v in sorted(counted.items())] + bad


def provenance(tables: Tables) -> list[tuple[str, str]]:
    """Code, packages, devices and data that the rows came from."""
    rows = tables["trials"].to_pylist()
    named = {
        "Code": {row["code"] for row in rows},
        "Packages": {row["packages"] for row in rows},
        "Devices": {f"{row['device']} × {row['world_size']}" for row in rows},
        "Data (content hashes)": {f"{row['task']} {row['data_hash']}" for row in rows},
    }
    return [(name, "; ".join(sorted(values))) for name, values in named.items()]
