"""What each reading of a network is worth: its sample, other outputs, and controls, apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from orchestrator import measured

if TYPE_CHECKING:
    from orchestrator.tables import Tables

OUTPUTS = (measured.SAMPLE, "auxiliary", "blend")
METRICS = ("dice", "iou", "ece")


def schema() -> pa.Schema:
    """Columns of the view."""
    keys = [(k, pa.string()) for k in (*measured.ABOUT, "reading")]
    counts = [(k, pa.int64()) for k in ("seeds", "images", "groups")]
    return pa.schema([*keys, *counts, *measured.columns(measured.metrics(METRICS))])


def rows(tables: Tables) -> pa.Table:
    """One row per study, cell and reading, over finished final trials, on test cases only.

    ``sample`` is what an arm is judged by, ``auxiliary`` another output of the same network,
    ``blend`` the two together. The rest are the sample under a control
    (:mod:`trainables.controls`): what is as good as the sample did not need what was taken away.
    ``images`` counts the cases of that reading, ``groups`` what they are of: a control may have
    been run on some only.
    """
    held_out = measured.HeldOut(tables, measured.metrics(METRICS))
    found: list[dict[str, Any]] = []
    for about, trials in held_out.cells:
        cases = held_out.tables["cases"]
        mine = cases.of(trials["digest"])
        codes = cases.codes["reading"][mine]
        for reading in sorted((cases.names["reading"][c] for c in np.unique(codes)), key=_place):
            read = mine[codes == cases.names["reading"].index(reading)]
            found.append(
                {
                    **about,
                    "reading": reading,
                    "seeds": len(np.unique(cases.codes["digest"][read])),
                    "images": len(np.unique(cases.codes["case"][read])),
                    "groups": len(np.unique(cases.codes["group"][read])),
                    **held_out.measure(trials, reading),
                }
            )
    return pa.Table.from_pylist(found, schema=schema())


def _place(reading: str) -> tuple[int, str]:
    """Outputs first, in their order; then controls by name."""
    return (OUTPUTS.index(reading), "") if reading in OUTPUTS else (len(OUTPUTS), reading)
