"""The code, packages, devices and data behind the results, and the commands that reproduce them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.report.blocks import Block, Column, Commands, Fold, Section, Table
from orchestrator.report.cell_names import CellNames, query

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 120
MAX_VALUES = 12
"""Distinct values that are listed per row: a store of many studies has hundreds."""
COLUMNS = (Column("property", "Property"), Column("value", "Value"))


def section(tables: Catalog, names: CellNames) -> Section:
    """Return the distinct values of each property, and the commands.

    The device of a trial that was killed is unknown and is omitted.
    """
    del names  # the section is about trials, not arms
    trials = tables["trials"].to_pylist()
    values = {
        "Code version": {row["code"] for row in trials},
        "Packages": {row["packages"] for row in trials},
        "Devices": {f"{row['device']} × {row['world_size']}" for row in trials if row["device"]},
        "Seeds": {str(row["seed"]) for row in trials},
        "Data (content hashes)": {f"{row['task']} {row['data_hash']}" for row in trials},
    }
    rows = [{"property": name, "value": _listed(distinct)} for name, distinct in values.items()]
    source = query(
        tables,
        "studies JOIN trials USING (digest)",
        columns="digest, code, packages, devices, seed, data_hash",
    )
    blocks: list[Block] = [
        Fold(
            "Code, packages, devices, seeds and data", [Table("provenance", COLUMNS, rows, source)]
        ),
        Fold("Commands that continue, repeat and export this study", [_commands(tables)]),
    ]
    return Section("provenance", "Provenance and reproduction", blocks)


def _commands(tables: Catalog) -> Commands:
    studies = tables.studies or ("STUDY",)
    names = " ".join(studies)
    store = shlex.quote(tables.ledger.store.url)
    return Commands(
        [
            (
                "Set the store that the commands on this page read",
                f"export SEGPRINT_STORE={store}",
            ),
            *(
                ("Continue the study; committed trials are not repeated", f"segprint sweep {study}")
                for study in studies
            ),
            ("Repeat one trial and compare its results", "segprint run DIGEST"),
            ("Write this page", f"segprint report {names} -o report.html"),
            (
                "Write charts, tables and numbers as files for a paper",
                f"segprint report {names} --figures figures",
            ),
        ]
    )


def _listed(values: Iterable[str | None]) -> str:
    known = sorted(value for value in values if value)
    more = f"; and {len(known) - MAX_VALUES} more" if len(known) > MAX_VALUES else ""
    return "; ".join(known[:MAX_VALUES]) + more or "–"
