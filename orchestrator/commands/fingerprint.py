"""``segprint fingerprint``: how much the image tells at each noise level, in the terminal."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, cast

import pandas as pd

from orchestrator.analyses.fingerprints import summaries
from orchestrator.commands import emit, tables_of

BARS = " ▁▂▃▄▅▆▇█"


def main(options: Namespace) -> int:
    """One line per fingerprint: totals with intervals, and the density over log-SNR as bars."""
    tables = tables_of(options)
    found = summaries(tables)
    if not found and not options.json:
        print("no final diffusion trial has finished yet")
        return 1
    curves = cast("pd.DataFrame", tables["fingerprints"].to_pandas())
    for row in found:
        row["density"] = bars(curves, row)
        if not options.json:
            for name in ("information", "information_orthogonal", "half"):
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                row[name] = f"{row[name]:.3f} [{low:.3f}, {high:.3f}]"
            row["range"] = f"{row['log_snr_high']:.1f} to {row['log_snr_low']:.1f}"
    columns = {
        "study": "study",
        "cell": "cell",
        "schedule": "schedule",
        "images": "tiles",
        "information_orthogonal": "bits per pixel in range",
        "information": "by difference",
        "half": "half below λ",
        "range": "λ, clean to noise",
        "density": "density",
    }
    emit(found, columns, options.json)
    return 0


def bars(curves: pd.DataFrame, row: dict[str, Any]) -> str:
    """The information density as one character per stratum, from clean to noise."""
    mine = curves[
        (curves["study"] == row["study"])
        & (curves["cell"] == row["cell"])
        & (curves["axis"] == "log_snr")
        & (curves["curve"] == "information_orthogonal")
    ].sort_values("bin", ascending=False)
    values = mine["value"].to_numpy()
    top = max(float(values.max()), 1e-12)
    return "".join(BARS[round(v / top * (len(BARS) - 1))] for v in values)
