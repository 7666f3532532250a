"""Timestep fingerprints: what the image tells about the mask at each noise level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.report import vega
from orchestrator.report.blocks import Block, Chart, Column, Note, Section, Table, fixed, text
from orchestrator.report.naming import Naming, ordered, query, sized, spaced

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 20
TOLD = (
    "The ε-error of the best denoiser is twice an information density over log-SNR λ, so the area"
    " between the errors without and with the image is what the image tells about the mask, in"
    " bits. Two estimates: half the squared distance between the two denoisers' estimates"
    " (orthogonal), and half the difference of their errors. Where they disagree, the network is"
    " not yet the best denoiser. Errors are per pixel, summed over the mask's channels: one for two"
    " classes, else one for each. Everything is within the range of λ that the network was trained"
    " on; shaded are 95 % bootstrap intervals over groups and seeds, or over tiles where there are"
    " fewer than six groups: those are too narrow, for tiles of one image are not independent."
)
LIMITS = (
    "Bits per pixel within the range of λ that was trained. H: bounds from above, a network's code"
    " length. A dash: not defined for more than two classes, or there is no twin."
)
COLUMNS = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("information_orthogonal", "I(mask; image), orthogonal", fixed(4), interval=True),
    Column("information", "I, by difference", fixed(4), interval=True),
    Column("half", "Half of it below λ", fixed(2), interval=True),
    Column("entropy", "H(mask) ≤", fixed(4), interval=True),
    Column("entropy_given_image", "H(mask | image) ≤", fixed(4), interval=True),
    Column("images", "Tiles", text),
    Column("groups", "Groups", text),
    Column("seeds", "Seeds", text),
)
MORE = (
    Column("task", "Task"),
    Column("series", "Arm"),
    Column("schedule", "Schedule"),
    Column("disagreement", "Difference less orthogonal", fixed(4), interval=True),
    Column("information_orthogonal_per_image", "I, bits per tile", fixed(0), interval=True),
    Column("width", "10–90 % width of I in λ", fixed(2), interval=True),
    Column("live_from", "I is over 1 % of its peak from λ", fixed(1)),
    Column("live_to", "to λ", fixed(1)),
    Column("share_under_1", "Share of t where the image takes away < 1 % of the error", fixed(2)),
    Column("share_under_5", "… < 5 %", fixed(2)),
    Column("share_under_10", "… < 10 %", fixed(2)),
    Column("left_edge", "Error at the noisy end over the twin's", fixed(2), interval=True),
    Column("one_step_dice_noisy", "One-step Dice, noisy end", fixed(3), interval=True),
    Column("tail_below", "Bits below the range ≤", fixed(5)),
    Column("tail_above", "Bits above it ≤", fixed(5)),
    Column("log_snr_low", "Measured from λ", fixed(1)),
    Column("log_snr_high", "to λ", fixed(1)),
)
TIME = vega.number("t, from clean (0) to noise (1)")
LOG_SNR = vega.number("log-SNR λ, from clean to noise", reverse=True)
PANELS: tuple[tuple[str, str, str, dict[str, Any], dict[str, Any], dict[str, str]], ...] = (
    (
        "loss",
        "Loss over timesteps",
        "t",
        TIME,
        vega.number("ε-MSE per pixel", type="log"),
        {"eps_error": "with the image"},
    ),
    (
        "error",
        "Error over log-SNR",
        "log_snr",
        LOG_SNR,
        vega.number("ε-MSE per pixel"),
        {
            "eps_error": "with the image",
            "eps_error_dropped": "without the image",
            "eps_error_pixelwise": "the share of foreground alone",
        },
    ),
    (
        "information",
        "Information that the image adds",
        "log_snr",
        LOG_SNR,
        vega.number("bits per pixel per unit of λ"),
        {"information_orthogonal": "orthogonal", "information": "by difference"},
    ),
    (
        "one-step",
        "Dice of the mask estimated in one step",
        "t",
        TIME,
        vega.number("Dice"),
        {"one_step_dice": "with the image"},
    ),
    (
        "controls",
        "Error with something else in its place",
        "log_snr",
        LOG_SNR,
        vega.number("ε-MSE per pixel", type="log"),
        {
            "eps_error": "nothing replaced",
            "eps_error_shuffled_image": "another case's image",
            "eps_error_random_mask": "noise for the noisy mask",
            "eps_error_shuffled_mask": "another case's noisy mask",
        },
    ),
)
CONTROLS = set(PANELS[-1][-1]) - {"eps_error"}


def section(tables: Catalog, naming: Naming) -> Section:
    """Four panels, of all tasks together where each has one curve; else per task."""
    curves = naming.of(tables["fingerprints"].to_pylist())
    if not curves:
        said = "No final diffusion trial was probed yet."
        return Section("fingerprints", "Timestep fingerprints", [Note([said])])
    cells = {(r["task"], r["series"]) for r in curves}
    crowded = len(cells) > len({task for task, _ in cells})
    if not crowded:
        curves = [{**row, "series": spaced(row["task"])} for row in curves]
    looks = naming.looks(curves) if crowded else vega.looks(ordered(curves))
    groups = ordered(curves, "task") if crowded else [""]
    charts = [
        chart(tables, [r for r in curves if task in ("", r["task"])], task, panel, looks)
        for task in groups
        for panel in (PANELS if any(r["curve"] in CONTROLS for r in curves) else PANELS[:-1])
    ]
    totals = naming.of(tables["information"].to_pylist())
    seen = [
        f"{spaced(row['task'])}, {row['series']}: {sign}"
        for row in totals
        for sign in filter(None, row["signatures"].split("; "))
    ]
    blocks: list[Block] = [
        Note([TOLD]),
        *charts,
        Table("information", COLUMNS, totals, query(tables, "information"), caption=LIMITS),
        Table(
            "information-more",
            MORE,
            totals,
            query(tables, "information"),
            folded="Where it lies, both ends, the tails beyond",
        ),
    ]
    if seen:
        blocks += [
            Note(["Signs named by the source study or against expectation, each with its number:"]),
            Note(seen, True),
        ]
    return Section("fingerprints", "Timestep fingerprints", blocks, list(looks))


def chart(
    tables: Catalog, curves: list[dict[str, Any]], task: str, panel: Any, looks: vega.Looks
) -> Chart:
    """One panel of some cells' curves."""
    name, title, axis, across, up, lines = panel
    there = [r for r in curves if r["axis"] == axis and r["curve"] in lines]
    shown = [name for name in looks if name in ordered(there)][: vega.MOST]
    rows = [
        {
            "series": row["series"],
            "line": lines[row["curve"]],
            **{k: row[k] for k in ("at", "value", "low", "high")},
        }
        for row in there
        if row["series"] in shown
    ]
    kinds = [kind for kind in lines.values() if any(r["line"] == kind for r in rows)]
    edge = ""
    if up["scale"].get("type") == "log":
        edge = " What is more than four decades below the highest lies on the lower edge."
        up = vega.logarithmic(up["title"], [r[k] for r in rows for k in ("low", "high")])
    first = {r["series"]: r for r in reversed(there)}
    counts = ", ".join(
        f"{name} {sized(first[name], 'tiles')} × {first[name]['seeds']} seeds" for name in shown
    )
    lacking = [
        f" No {lines[kind]}: {', '.join(without)}."
        for kind in lines
        if (without := _without(there, kind, shown))
    ]
    words = (f"{look}: {kind}" for look, kind in zip(vega.DASHED, kinds, strict=False))
    said = f"{'; '.join(words).capitalize()}. " if len(kinds) > 1 else ""
    names = ", ".join(f"'{curve}'" for curve in lines)
    return Chart(
        f"fingerprint-{task}-{name}" if task else f"fingerprint-{name}",
        f"{spaced(task)}: {title[0].lower()}{title[1:]}" if task else title,
        _alt(there, next(iter(lines))),
        f"{said}Shaded: 95 % over {counts}.{''.join(lacking)}{edge}",
        query(tables, "fingerprints", f"axis = '{axis}'", f"curve IN ({names})"),
        vega.lines({name: looks[name] for name in shown}, across, up, kinds=kinds),
        rows,
    )


def _without(rows: list[dict[str, Any]], curve: str, shown: list[str]) -> list[str]:
    """The series that lack a curve which others have."""
    having = {row["series"] for row in rows if row["curve"] == curve}
    return [name for name in shown if having and name not in having]


def _alt(rows: list[dict[str, Any]], curve: str) -> str:
    said: list[str] = []
    for series in ordered(rows):
        mine = [r for r in rows if r["series"] == series and r["curve"] == curve]
        peak = max(mine, key=lambda r: r["value"], default=None)
        if peak is not None:
            said.append(f"{series} is highest, {peak['value']:.3g}, at {peak['at']:.2f}")
    return "; ".join(said)
