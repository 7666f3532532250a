"""``segprint fingerprint``: how much the image tells at each noise level, in the terminal."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import pandas as pd

from orchestrator.commands import emit, tables_of
from orchestrator.statistics.bootstrap import FEWEST

BARS = " ▁▂▃▄▅▆▇█"
COLUMNS = {
    "study": "study",
    "cell": "cell",
    "images": "tiles",
    "groups": "of groups",
    "entropy": "H(mask)",
    "entropy_given_image": "H(mask | image)",
    "information_orthogonal": "I(mask; image) [95 %]",
    "information": "by difference [95 %]",
    "half": "half below λ [95 %]",
    "width": "10–90 % width",
    "range": "λ, clean to noise",
    "density": "density",
}
WITH_INTERVAL = ("information_orthogonal", "information", "half")


def main(options: Namespace) -> int:
    """One line per fingerprint: totals in bits per pixel, the density over log-SNR as bars."""
    tables = tables_of(options)
    found = tables["information"].to_pylist()
    if not found and not options.json:
        print("no final diffusion trial has finished yet")
        return 1
    curves = tables["fingerprints"].to_pandas()
    for row in found:
        row["density"] = bars(curves, row)
    emit(found if options.json else map(_short, found), COLUMNS, options.json)
    if not options.json:
        print(
            "\nBits per pixel within the range of λ that was measured; 95 % bootstrap over groups,"
            f" or over tiles where there are fewer than {FEWEST} groups."
        )
        for row in found:
            for sign in filter(None, row["signatures"].split("; ")):
                print(f"{row['study']} {row['cell']}: {sign}")
    return 0


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """The row as texts."""
    texts = {
        name: f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
        for name in WITH_INTERVAL
        if row[name] is not None
    }
    ends = f"{row['log_snr_high']:.1f} to {row['log_snr_low']:.1f}"
    plain = {k: f"{row[k]:.3f}" for k in ("entropy", "entropy_given_image") if row[k] is not None}
    wide = {} if row["width"] is None else {"width": f"{row['width']:.2f}"}
    return {**row, **texts, **plain, **wide, "range": ends}


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
