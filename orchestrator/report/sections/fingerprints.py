"""Timestep fingerprints: the information of the image about the mask at each noise level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.report import vega
from orchestrator.report.blocks import (
    Block,
    Chart,
    Column,
    CurveRow,
    Fold,
    Note,
    Section,
    Table,
    folded,
)
from orchestrator.report.cell_names import (
    CellNames,
    distinct,
    plural,
    query,
    readable,
    sample_size,
)
from orchestrator.report.formats import as_text, decimals
from orchestrator.statistics.bootstrap import FEWEST

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 20
NOTE = (
    "The charts show how much the image reduces the denoising error at each noise level. The"
    " ε-error of the optimal denoiser is twice an information density over log-SNR λ (Guo, Shamai"
    " and Verdú 2005), so the area between the errors without and with the image is the mutual"
    " information of mask and image. There are two estimators of its density: half the squared"
    " distance between the two denoisers' estimates (orthogonal), and half the difference of their"
    " errors (by difference). Where they disagree, the network is not the optimal denoiser. Errors"
    " are per pixel and summed over the channels of the mask: one channel for two classes, else one"
    " per class. All results are within the range of λ that the network was trained on. Bands are"
    f" 95 % bootstrap-t intervals over groups and seeds. With fewer than {FEWEST} groups the"
    " intervals are over tiles; tiles of one image are dependent, so these bands are too narrow."
)
BRIEF = (
    "How much the image reduces the denoising error at each noise level: the area between the"
    " errors without and with the image is the mutual information of mask and image. λ is"
    " log-SNR: noise on the right."
)
OBSERVED = (
    "What these networks show as trained. A claim above can still be inconclusive, for instance"
    " because a network was still learning:"
)
SHOWN = ("-error", "-information")
MOST_CHARTS = 4
MOST_OBSERVATIONS = 8
TABLE_NOTE = (
    "Information in bits per pixel, within the range of λ that the network was trained on. The"
    " entropies H are upper bounds: the network's code length. A dash marks a quantity that is not"
    " defined for more than two classes, or that needs a feed-forward twin."
)
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("information_orthogonal", "I(mask; image), orthogonal", decimals(4), interval=True),
    Column("information", "I(mask; image), by difference", decimals(4), interval=True),
    Column("half", "Half-information λ", decimals(2), interval=True),
    Column("entropy", "H(mask) ≤", decimals(4), interval=True),
    Column("entropy_given_image", "H(mask | image) ≤", decimals(4), interval=True),
    Column("images", "Tiles", as_text),
    Column("groups", "Groups", as_text),
    Column("seeds", "Seeds", as_text),
)
DETAILS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("schedule", "Schedule"),
    Column("disagreement", "I by difference − I orthogonal", decimals(4), interval=True),
    Column("information_orthogonal_per_image", "I, bits per tile", decimals(0), interval=True),
    Column("width", "10–90 % width of I in λ", decimals(2), interval=True),
    Column("live_from", "Density of I over 1 % of its peak, from λ", decimals(1)),
    Column("live_to", "to λ", decimals(1)),
    Column("share_under_1", "Share of t where the image removes < 1 % of the error", decimals(2)),
    Column("share_under_5", "Same for < 5 %", decimals(2)),
    Column("share_under_10", "Same for < 10 %", decimals(2)),
    Column("left_edge", "Error at the noisy end / error of the twin", decimals(2), interval=True),
    Column("one_step_dice_noisy", "One-step Dice at the noisy end", decimals(3), interval=True),
    Column("tail_below", "Bits below the range ≤", decimals(5)),
    Column("tail_above", "Bits above the range ≤", decimals(5)),
    Column("log_snr_low", "Measured from λ", decimals(1)),
    Column("log_snr_high", "to λ", decimals(1)),
)
TIME = vega.quantitative("t, from clean (0) to noise (1)")
LOG_SNR = vega.quantitative("log-SNR λ, from clean to noise", reverse=True)


class Panel(NamedTuple):
    """One chart of curves from the view ``fingerprints``."""

    name: str
    title: str
    axis: str
    """The value of the view's column ``axis``."""
    x: vega.Spec
    y: vega.Spec
    curves: Mapping[str, str]
    """Maps the values of the view's column ``curve`` to their names in the chart."""


CONTROLS = {
    "eps_error_shuffled_image": "image of another case",
    "eps_error_random_mask": "noise as the noisy mask",
    "eps_error_shuffled_mask": "noisy mask of another case",
}
PANELS = (
    Panel(
        "loss",
        "Loss over timesteps",
        "t",
        TIME,
        vega.quantitative("ε-MSE per pixel", type="log"),
        {"eps_error": "with the image"},
    ),
    Panel(
        "error",
        "Error over log-SNR",
        "log_snr",
        LOG_SNR,
        vega.quantitative("ε-MSE per pixel", domainMin=0, clamp=True),
        {
            "eps_error": "with the image",
            "eps_error_dropped": "without the image",
            "eps_error_pixelwise": "from the prevalence alone",
        },
    ),
    Panel(
        "information",
        "Information added by the image",
        "log_snr",
        LOG_SNR,
        vega.quantitative("bits per pixel per unit of λ"),
        {"information_orthogonal": "orthogonal", "information": "by difference"},
    ),
    Panel(
        "one-step",
        "Dice of the one-step estimate",
        "t",
        TIME,
        vega.quantitative("Dice"),
        {"one_step_dice": "with the image"},
    ),
)
CONTROL_PANEL = Panel(
    "controls",
    "Error under controls",
    "log_snr",
    LOG_SNR,
    vega.quantitative("ε-MSE per pixel", type="log"),
    {"eps_error": "no control", **CONTROLS},
)


def section(tables: Catalog, names: CellNames) -> Section:
    """Return the panels and tables; all tasks share a panel where each has one curve."""
    curves = names.add_series(tables["fingerprints"].to_pylist())
    if not curves:
        note = Note(["No final trial of a diffusion model has been probed."])
        return Section("fingerprints", "Timestep fingerprints", [note])
    cells = {(r["task"], r["series"]) for r in curves}
    per_task = len(cells) > len({task for task, _ in cells})
    if not per_task:
        curves = [{**row, "series": readable(row["task"])} for row in curves]
    styles = names.styles(curves) if per_task else vega.styles(distinct(curves))
    panels = PANELS
    if any(r["curve"] in CONTROLS for r in curves):
        panels = (*PANELS, CONTROL_PANEL)
    charts = [
        _chart(tables, [r for r in curves if task in ("", r["task"])], task, panel, styles)
        for task in (distinct(curves, "task") if per_task else [""])
        for panel in panels
    ]
    shown = [chart for chart in charts if chart.name.endswith(SHOWN)][:MOST_CHARTS]
    others = [chart for chart in charts if chart not in shown]
    blocks = [
        Note([BRIEF]),
        *shown,
        *_tables(tables, names),
        *folded("Further charts: loss over timesteps, one-step Dice, controls", others),
        Fold("Method", [Note([NOTE])]),
    ]
    return Section("fingerprints", "Timestep fingerprints", blocks, list(styles))


def _tables(tables: Catalog, names: CellNames) -> list[Block]:
    """Return the totals, their details, and the observations about single arms."""
    totals = names.add_series(tables["information"].to_pylist())
    source = query(tables, "information")
    details = "Totals in bits per pixel: information, entropies, location, bounds on the tails"
    both: list[Block] = [
        Table("information", COLUMNS, totals, source, caption=TABLE_NOTE),
        Table("information-more", DETAILS, totals, source),
    ]
    blocks: list[Block] = [Fold(details, both)]
    observations = [
        f"{readable(row['task'])}, {row['series']}: {signature}"
        for row in totals
        for signature in filter(None, row["signatures"].split("; "))
    ]
    if observations:
        note = Note([OBSERVED])
        listed = Note(observations[:MOST_OBSERVATIONS], bullets=True)
        more = [Note(observations[MOST_OBSERVATIONS:], bullets=True)]
        further = len(observations) - MOST_OBSERVATIONS
        blocks = [note, listed, *folded(f"{further} more", more if further > 0 else []), *blocks]
    return blocks


def _chart(
    tables: Catalog, curves: list[dict[str, Any]], task: str, panel: Panel, styles: vega.Styles
) -> Chart:
    """Return one panel with the curves of some cells; ``task`` is empty if it covers all tasks."""
    available = [r for r in curves if r["axis"] == panel.axis and r["curve"] in panel.curves]
    shown = [name for name in styles if name in distinct(available)][: vega.MAX_SERIES]
    rows = [_curve_row(r, panel) for r in available if r["series"] in shown]
    kinds = [kind for kind in panel.curves.values() if kind in distinct(rows, "line")]
    y, clamped = panel.y, ""
    if y["scale"].get("type") == "log":
        y = vega.logarithmic(y["title"], [end for r in rows for end in (r["low"], r["high"])])
        clamped = " Values more than four decades below the largest lie on the lower edge."
    sources = ", ".join(f"'{curve}'" for curve in panel.curves)
    return Chart(
        f"fingerprint-{task}-{panel.name}" if task else f"fingerprint-{panel.name}",
        f"{readable(task)}: {panel.title}" if task else panel.title,
        _alt(available, next(iter(panel.curves))),
        f"Bands: 95 % intervals, {_sizes(available, shown)}.{_missing(available, panel, shown)}"
        f"{clamped}",
        query(tables, "fingerprints", f"axis = '{panel.axis}'", f"curve IN ({sources})"),
        vega.curves({name: styles[name] for name in shown}, panel.x, y, kinds=kinds),
        rows,
        key=_dash_key(kinds),
    )


def _curve_row(row: dict[str, Any], panel: Panel) -> CurveRow:
    return {
        "series": row["series"],
        "line": panel.curves[row["curve"]],
        "at": row["at"],
        "value": row["value"],
        "low": row["low"],
        "high": row["high"],
    }


def _dash_key(kinds: list[str]) -> str:
    """Return the meaning of the dashes where there are several kinds of curves."""
    if len(kinds) < 2:
        return ""
    pairs = zip(vega.DASH_NAMES, kinds, strict=False)
    return "; ".join(f"{dash}: {kind}" for dash, kind in pairs).capitalize() + "."


def _sizes(rows: list[dict[str, Any]], shown: list[str]) -> str:
    """Return the sample size of each series, or one size where all have the same."""
    first = {r["series"]: r for r in reversed(rows)}
    sizes = {
        name: f"{sample_size(first[name], 'tile')} and {plural(first[name]['seeds'], 'seed')}"
        for name in shown
    }
    if len(set(sizes.values())) == 1:
        return f"n = {sizes[shown[0]]}"
    return "; ".join(f"{name}: n = {size}" for name, size in sizes.items())


def _missing(rows: list[dict[str, Any]], panel: Panel, shown: list[str]) -> str:
    """Return a sentence per curve that some series lack and others have."""
    sentences: list[str] = []
    for curve, kind in panel.curves.items():
        having = {row["series"] for row in rows if row["curve"] == curve}
        without = [name for name in shown if having and name not in having]
        if without:
            sentences.append(f" The curve “{kind}” is missing for {', '.join(without)}.")
    return "".join(sentences)


def _alt(rows: list[dict[str, Any]], curve: str) -> str:
    """Return where each series has its maximum."""
    peaks: list[str] = []
    for series in distinct(rows):
        points = [r for r in rows if r["series"] == series and r["curve"] == curve]
        peak = max(points, key=lambda r: r["value"], default=None)
        if peak is not None:
            peaks.append(f"{series} has its maximum, {peak['value']:.3g}, at {peak['at']:.2f}")
    return "; ".join(peaks)
