"""What each arm is: the settings in which it differs from the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.heldout.baselines import factor_values, varying
from orchestrator.report.blocks import Column, Table

COLUMNS = (
    Column("series", "Arm"),
    Column("model", "Model"),
    Column("mode", "Mode"),
    Column("settings", "Settings that differ between the arms"),
)
NOTE = (
    "Settings are those of the first task; a parameter search chooses its values for each task"
    " separately."
)


def arms_table(board: Sequence[Mapping[str, Any]], source: str) -> Table:
    """Return one row per arm, from rows of the leaderboard with their series."""
    first = {row["series"]: row for row in reversed(board)}
    settings = {
        name: dict(factor_values(json.loads(row["settings"] or "{}")))
        for name, row in first.items()
    }
    paths = [p for p in varying(settings.values()) if p not in ("model", "mode")]
    rows = [
        {
            **{key: row[key] for key in ("series", "model", "mode")},
            "settings": ", ".join(
                f"{path} {settings[name][path]}" for path in _paths(settings, name, paths)
            ),
        }
        for name, row in reversed(first.items())
    ]
    return Table("arms", COLUMNS, rows, source, NOTE)


def _paths(
    settings: Mapping[str, Mapping[str, str]], name: str, varying: Sequence[str]
) -> list[str]:
    """Return the paths of an arm that vary, or that others of the same model and mode lack."""
    alone = [
        path
        for path in settings[name]
        if path.startswith("mode.") and sum(path in other for other in settings.values()) == 1
    ]
    return [path for path in settings[name] if path in varying or path in alone]
