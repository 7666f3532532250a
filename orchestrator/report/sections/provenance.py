"""Code, packages, devices and data that the rows came from, and how to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.report.blocks import Block, Column, Commands, Section, Table
from orchestrator.report.naming import Naming, query

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 120
SHOWN = 12
"""Values of one kind: a store of many studies has hundreds."""


def section(tables: Catalog, naming: Naming) -> Section:
    """What was used, each value once.

    Where a trial ran is unknown if it was ended from outside: it is not mentioned then.
    """
    del naming
    rows = tables["trials"].to_pylist()
    named = {
        "Code": {row["code"] for row in rows},
        "Packages": {row["packages"] for row in rows},
        "Devices": {f"{row['device']} × {row['world_size']}" for row in rows if row["device"]},
        "Seeds": {str(row["seed"]) for row in rows},
        "Data (content hashes)": {f"{row['task']} {row['data_hash']}" for row in rows},
    }
    listed = [{"what": name, "value": _some(values)} for name, values in named.items()]
    studies = tables.studies or ("STUDY",)
    names = " ".join(studies)
    store = shlex.quote(tables.ledger.store.url)
    columns = (Column("what", "What"), Column("value", "Value"))
    source = query(
        tables,
        "studies JOIN trials USING (digest)",
        columns="digest, code, packages, devices, seed, data_hash",
    )
    blocks: list[Block] = [
        Table("provenance", columns, listed, source),
        Commands(
            [
                (
                    "First, where the commands of this page find the store",
                    f"export SEGPRINT_STORE={store}",
                ),
                *(
                    ("Run it again; what is committed is not trained anew", f"segprint sweep {s}")
                    for s in studies
                ),
                ("Train one trial again and compare every sum", "segprint run DIGEST"),
                ("This page", f"segprint report {names} -o report.html"),
                (
                    "Charts, tables and numbers for a paper",
                    f"segprint report {names} --figures figures",
                ),
            ]
        ),
    ]
    return Section("provenance", "Where the numbers come from", blocks)


def _some(values: Iterable[str | None]) -> str:
    known = sorted(value for value in values if value)
    more = f"; and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return "; ".join(known[:SHOWN]) + more or "–"
