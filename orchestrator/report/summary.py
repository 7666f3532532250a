"""The three sentences at the top of the page: the best arm, its margin, and what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.formatting import plural
from orchestrator.heldout.baselines import called
from orchestrator.heldout.final_cells import FinalCell, final_cells
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.heldout.paired import Pairs, advantage
from orchestrator.report.cell_names import CellNames, case_noun, readable, sample_size
from orchestrator.report.formats import decimals, p_equals, signed
from orchestrator.statistics.bootstrap import FEWEST
from orchestrator.statistics.power import POWER, Design, more_units, spread_of
from orchestrator.statistics.verdicts import comparison

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

MAX_TASKS = 6
"""Tasks that each sentence names; the leaderboard has all."""
METRIC = "dice"


@dataclass(frozen=True)
class Finding:
    """One sentence of the summary."""

    title: str
    text: str


@dataclass(frozen=True)
class Margin:
    """The comparison of the best arm of a task with its baseline, or with the next best network."""

    label: str
    """The task, or the study and the task."""
    row: Mapping[str, Any]
    """Columns of the view ``ablation``, turned so that ``cell`` is the arm in question."""
    name: str
    against: str

    @property
    def difference(self) -> str:
        """The difference with its interval and its adjusted p."""
        value, low, high = (signed(self.row[f"difference{end}"]) for end in ("", "_low", "_high"))
        return f"{value} [{low}, {high}], {p_equals(self.row['p_holm'])}"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        verb = comparison(
            advantage(self.row),
            "is significantly better than",
            "is significantly worse than",
            "does not differ significantly from",
        )
        return f"{self.label}: {self.name} {verb} {self.against} ({self.difference})"


def findings(tables: Catalog, names: CellNames) -> list[Finding]:
    """Return the best arm, its comparison with the baseline, and what is inconclusive."""
    board = names.add_series(tables["leaderboard"].to_pylist())
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in board:
        if row[METRIC] is not None:
            groups.setdefault((row["study"], row["task"]), []).append(row)
    if not groups:
        return [Finding("Result", "no final trial has finished.")]
    several = len({study for study, _ in groups}) > 1
    labels = {
        key: f"{key[0]}, {readable(key[1])}" if several else readable(key[1]) for key in groups
    }
    chosen = dict(list(groups.items())[:MAX_TASKS])
    further = len(groups) - len(chosen)
    more = f" The leaderboard has {plural(further, 'more task')}." if further else ""
    cells = {cell.key: cell for cell in final_cells(tables)}
    pairs = [row for row in tables["ablation"].to_pylist() if row["metric"] == METRIC]
    margins = [
        margin
        for key, arms in chosen.items()
        if (margin := _margin(labels[key], arms, pairs, cells, names)) is not None
    ]
    best = "; ".join(f"{labels[key]}: {_best(arms, names)}" for key, arms in chosen.items())
    found = [Finding("Best Dice", f"{best}.{more}")]
    if margins:
        found.append(Finding(_title(cells), f"{'; '.join(m.sentence for m in margins)}."))
        found.append(Finding("Inconclusive", _open(tables, margins, cells)))
    return found


def progress(tables: Catalog) -> str:
    """Return how many declared trials are committed, and how many of them did not succeed."""
    outcomes = {row["digest"]: row["outcome"] for row in tables["trials"].to_pylist()}
    declared = set(tables["studies"]["digest"].to_pylist()) | set(outcomes)
    unsuccessful = sum(outcome in ("failed", "diverged") for outcome in outcomes.values())
    sentence = f"{len(outcomes)} of {plural(len(declared), 'declared trial')} are committed"
    return (
        f"{sentence}; {unsuccessful} of them failed or diverged."
        if unsuccessful
        else f"{sentence}."
    )


def _best(arms: Sequence[Mapping[str, Any]], names: CellNames) -> str:
    best = max(arms, key=lambda row: row[METRIC])
    value, low, high = (decimals(3)(best[f"{METRIC}{end}"]) for end in ("", "_low", "_high"))
    size = f"{sample_size(best, case_noun(best))}, {plural(best['seeds'], 'seed')}"
    grey = ", which uses the grey level alone" if names.is_trivial(best) else ""
    return f"{best['series']}{grey}, {value} [{low}, {high}], n = {size}"


def _title(cells: Mapping[tuple[str, str], FinalCell]) -> str:
    baselines = {cell.baseline for cell in cells.values()}
    if len(baselines) == 1 and (baseline := baselines.pop()) is not None:
        return f"Against the baseline {readable(baseline)}"
    if baselines == {None} or not baselines:
        return "Against the next best network"
    return "Against the baseline, or the next best network"


def _margin(
    label: str,
    arms: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    cells: Mapping[tuple[str, str], FinalCell],
    names: CellNames,
) -> Margin | None:
    """Return the best arm compared with the baseline, or without one with the next best network.

    Where the baseline itself is best, the best of the other arms is compared with it.
    """
    ranked = sorted(arms, key=lambda row: -row[METRIC])
    known = [cells[row["study"], row["cell"]] for row in ranked]
    baseline = known[0].baseline
    marked = set[str]() if baseline is None else called(baseline, [(c.cell, c.arm) for c in known])
    networks = [r for r in ranked if not names.is_trivial(r)]
    others = [row for row in ranked if row["cell"] not in marked]
    for one in others if marked else networks[:1]:
        rivals = [r["cell"] for r in (ranked if marked else networks) if r is not one]
        rivals = [cell for cell in rivals if cell in marked] if marked else rivals
        for rival in rivals:
            row = turned(pairs, one["study"], one["cell"], rival)
            if row is not None:
                against = next(r["series"] for r in ranked if r["cell"] == rival)
                return Margin(label, row, one["series"], against)
    return None


def turned(
    pairs: Sequence[Mapping[str, Any]], study: str, cell: str, against: str
) -> Mapping[str, Any] | None:
    """Return the row of a pair, of the first cell minus the second."""
    for row in pairs:
        if (row["study"], row["cell"], row["against"]) == (study, cell, against):
            return row
        if (row["study"], row["against"], row["cell"]) == (study, cell, against):
            ends = {"": "", "_low": "_high", "_high": "_low"}
            moved = {f"difference{to}": row[f"difference{end}"] for to, end in ends.items()}
            signs = {key: None if value is None else -value for key, value in moved.items()}
            better = None if row["better"] is None else 1 - row["better"]
            return {**row, **signs, "better": better, "cell": cell, "against": against}
    return None


def _open(
    tables: Catalog, margins: Sequence[Margin], cells: Mapping[tuple[str, str], FinalCell]
) -> str:
    """Return which comparisons are inconclusive, and what would decide each."""
    undecided = [margin for margin in margins if not advantage(margin.row)]
    if not undecided:
        compared = "this comparison" if len(margins) == 1 else "none of these comparisons"
        return f"{'nothing in ' if len(margins) == 1 else ''}{compared}."
    parts = [f"{margin.label}: {_remedy(tables, margin, cells)}" for margin in undecided]
    return f"{'; '.join(parts)}."


def _remedy(tables: Catalog, margin: Margin, cells: Mapping[tuple[str, str], FinalCell]) -> str:
    """Return how many test units would decide a comparison, if the difference is as observed."""
    row = margin.row
    units, seeds = row["units"], row["seeds"]
    if units < FEWEST:
        return (
            f"{plural(units, 'test unit')} allow no verdict at 95 %; at least {FEWEST} are needed"
        )
    pair = [cells[row["study"], row[side]] for side in ("cell", "against")]
    differences = Pairs(HeldOut(tables, load_metrics([METRIC]), pair)).differences(*pair)
    table = next((found.by_seed_and_unit for found in differences), None)
    if table is None or row["difference"] == 0:
        return "the arms have equal results"
    design = Design(units, seeds, row["family"])
    needed = more_units(spread_of(table), design, row["difference"])
    noun = case_noun({"settings": pair[0].trials.iloc[0]["config"]})
    unit = f"{noun}s" if row["groups"] < FEWEST else "groups"
    more_seeds = "" if seeds > 1 else ", and more than one seed to cover the training's chance"
    if needed is None:
        return (
            f"{decimals(3)(abs(row['difference']))} is small for its spread over {unit} and seeds;"
            " only more seeds could show whether it is not zero"
        )
    if needed == units:
        return (
            f"a repetition with these {units} {unit} would find a difference as observed with"
            f" {100 * POWER:.0f} % power{more_seeds}"
        )
    return (
        f"about {needed} {unit} (now {units}) would find a difference as observed with"
        f" {100 * POWER:.0f} % power{more_seeds}"
    )
