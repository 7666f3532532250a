"""Pictures of fingerprints: SVG for the report, PNG for everything else."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import pyarrow as pa

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe & Ito: distinguishable with every kind of colour vision."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "segprint",  # the same data give the same bytes
    "svg.fonttype": "none",
}


def fingerprints(table: pa.Table) -> Figure:
    """Loss over t; error over log-SNR with and without the image; information over log-SNR.

    Tasks share a row of panels, unless a task has several curves: then each task has its own.
    """
    frame = cast("pd.DataFrame", table.to_pandas())
    cells = frame[["task", "study", "cell"]].drop_duplicates()
    crowded = bool(cells["task"].duplicated().any())
    rows = [part for _, part in frame.groupby("task", sort=False)] if crowded else [frame]
    with rc_context(STYLE):
        figure = Figure(figsize=(14 if crowded else 12, 3.6 * len(rows)), layout="constrained")
        panels = cast("Any", figure.subplots(len(rows), 3, squeeze=False))
        for part, row in zip(rows, panels, strict=True):
            _panels(part, list(row), crowded)
        return figure


def _panels(frame: pd.DataFrame, row: list[Axes], crowded: bool) -> None:
    """One row: the curves of one task, or of all."""
    over_t, error, information = row
    studies = frame["study"].nunique()
    for i, ((study, cell), part) in enumerate(frame.groupby(["study", "cell"], sort=False)):
        label = str(cell) if studies == 1 else f"{study} {cell}"
        label, colour = label if crowded else str(part["task"].iloc[0]), COLOURS[i % len(COLOURS)]
        curves = {key: rows.sort_values("bin") for key, rows in part.groupby(["axis", "curve"])}
        _line(over_t, curves["t", "eps_error"], colour, label=label)
        _line(error, curves["log_snr", "eps_error"], colour, label=label)
        _line(error, curves["log_snr", "eps_error_dropped"], colour, style="--", band=False)
        _line(information, curves["log_snr", "information_orthogonal"], colour, label=label)
        _line(information, curves["log_snr", "information"], colour, style=":", band=False)
    over_t.set(
        title="Loss over timesteps", xlabel="t (from clean to noise)", ylabel="ε-MSE per pixel"
    )
    over_t.set_yscale("log")
    error.set(
        title="Error with the image (dashed: without)",
        xlabel="log-SNR λ (from clean to noise)",
        ylabel="ε-MSE per pixel",
    )
    information.set(
        title="Information (dotted: by difference)",
        xlabel="log-SNR λ (from clean to noise)",
        ylabel="bits per pixel per unit λ",
    )
    beside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    information.legend(frameon=False, **(beside if crowded else {}))
    for axes in (error, information):
        axes.invert_xaxis()


def _line(
    axes: Axes,
    rows: pd.DataFrame,
    colour: str,
    *,
    style: str = "-",
    band: bool = True,
    label: str | None = None,
) -> None:
    at = rows["at"].to_numpy()
    axes.plot(at, rows["value"].to_numpy(), style, color=colour, label=label, linewidth=1.6)
    if band:
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        axes.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0)


def svg(figure: Figure) -> str:
    """The figure as an SVG element, without the XML prologue; the same bytes for the same data."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The figure as PNG, 150 dots per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
