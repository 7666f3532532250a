"""``segprint fingerprint``: the information about the mask at each noise level, as text."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from orchestrator.commands.options import catalog_of
from orchestrator.commands.output import emit, print_json, say
from orchestrator.formatting import with_interval
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
    """Print one line per fingerprint: totals in bits per pixel, and the density over log-SNR."""
    tables = catalog_of(options)
    rows = tables["information"].to_pylist()
    if not rows:
        text = "no final diffusion trial has finished that was probed (probe.bins above 0)"
        print_json([]) if options.json else say(text)
        return 1
    curves = tables["fingerprints"].to_pylist()
    for row in rows:
        row["density"] = bars(curves, row)
    emit(rows if options.json else map(_short, rows), COLUMNS, options.json, every=options.all)
    if not options.json:
        say(
            "\nBits per pixel within the measured range of λ; 95 % intervals over groups,"
            f" or over tiles where there are fewer than {FEWEST} groups."
        )
        for row in rows:
            for sign in filter(None, row["signatures"].split("; ")):
                say(f"{row['study']} {row['cell']}: {sign}")
    return 0


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with numbers as short texts."""
    texts = {name: with_interval(row, name) for name in WITH_INTERVAL if row[name] is not None}
    ends = f"{row['log_snr_high']:.1f} to {row['log_snr_low']:.1f}"
    plain = {k: f"{row[k]:.3f}" for k in ("entropy", "entropy_given_image") if row[k] is not None}
    wide = {} if row["width"] is None else {"width": f"{row['width']:.2f}"}
    return {**row, **texts, **plain, **wide, "range": ends}


def bars(curves: list[dict[str, Any]], row: dict[str, Any]) -> str:
    """Return the information density as one character per stratum, from clean to noise."""
    wanted = {
        "study": row["study"],
        "cell": row["cell"],
        "axis": "log_snr",
        "curve": "information_orthogonal",
    }
    strata = [c for c in curves if all(c[key] == value for key, value in wanted.items())]
    strata.sort(key=lambda stratum: stratum["bin"], reverse=True)
    values: list[float] = [stratum["value"] for stratum in strata]
    top = max(*values, 1e-12)
    return "".join(BARS[round(v / top * (len(BARS) - 1))] for v in values)
