"""What the rows of one study say of each claim of the source study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.claims import timestep_tests
from orchestrator.claims.convergence import Learning
from orchestrator.claims.roles import CALLED, Arm, ArmRoster, Role, chosen, differs
from orchestrator.claims.statements import BUMPY, CLAIMS, LITTLE, OWN, PAIRED, Claim
from orchestrator.claims.verdicts import Evidence, judge, least_p, over_all
from orchestrator.fingerprint.probes import Probed, cells
from orchestrator.heldout import paired
from orchestrator.heldout.final_cells import FinalCell
from orchestrator.heldout.metrics import HeldOut, load_metrics
from orchestrator.statistics.bootstrap import FEWEST, count_units
from orchestrator.statistics.multiple_testing import LEVEL, holm

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

Row = dict[str, Any]

REASONS = 3
"""Of what is open on several tasks, those that are named."""
ENDS = ("difference_low", "difference_high")
HIGHER = ("dice", "iou")
"""Metrics that are better the higher they are."""


class ClaimEvaluator:
    """What one study says; ``cells`` are its finished final ones."""

    def __init__(self, tables: Catalog, study: str, mine: Sequence[FinalCell]) -> None:
        self._tables, self._study = tables, study
        by_task: dict[str, list[FinalCell]] = {}
        for cell in mine:
            by_task.setdefault(cell.task, []).append(cell)
        self._casts = {task: ArmRoster(some) for task, some in by_task.items()}
        models = sorted({model for cast in self._casts.values() for model in cast.models})
        self._arms = [(task, arm) for m in models for task, arm in chosen(self._casts, m).items()]
        self._learning = Learning(tables)
        held_out = HeldOut(tables, load_metrics(("dice", "iou", "ece")), list(mine))
        self._pairs = paired.Pairs(held_out, len(self._arms))

    def rows(self) -> Iterator[Row]:
        """In the order of the claims."""
        if not self._arms:
            yield from (self._lacking(claim, "diffusion") for claim in CLAIMS)
            return
        for claim in PAIRED:
            yield from self._against(claim)
        curves = {p.about["cell"]: p.whole() for p in cells(self._tables) if self._mine(p)}
        yield from self._over_timesteps(LITTLE, timestep_tests.little_use, curves)
        yield from self._over_timesteps(BUMPY, timestep_tests.not_monotone, curves)
        yield from self._of_tasks()

    def _mine(self, probed: Probed) -> bool:
        return (probed.about["study"], probed.about["axis"]) == (self._study, "t")

    def _lacking(self, claim: Claim, role: Role) -> Row:
        source = self._query("leaderboard")
        return {
            **self._about(claim),
            **_open(f"there is no {CALLED[role]} in this study"),
            "source": source.replace("*", "task, arm, model, mode", 1),
        }

    def _about(self, claim: Claim, task: str | None = None, arm: Arm | None = None) -> Row:
        row = {"study": self._study, "claim": claim.number}
        row |= {"statement": claim.statement, "metric": claim.metric, "task": task}
        return row if arm is None else row | {"model": arm.model, "cell": arm.cell}

    def _query(self, view: str, **where: str) -> str:
        said = {"study": self._study, **where}
        quoted = (f"{k} = '" + v.replace("'", "''") + "'" for k, v in said.items())
        return f"SELECT * FROM {view} WHERE {' AND '.join(quoted)}"  # noqa: S608 - shown, not run

    def _against(self, claim: Claim) -> Iterator[Row]:
        """Claim 1: pairs of arms, over the same cases and seeds."""
        role = claim.against
        assert role is not None
        if not any(cast.of(role) for cast in self._casts.values()):
            yield self._lacking(claim, role)
            return
        found: list[Row] = []
        for task, arm in self._arms:
            row = self._about(claim, task, arm)
            other = self._casts[task].against(role, arm)
            if other is None:
                found.append(row | _open(f"there is no {CALLED[role]} beside it"))
                continue
            row |= {"against": other.cell, "passes": arm.passes, "passes_against": other.passes}
            row |= {"source": self._pair(role, claim.metric, arm.cell, other.cell)}
            differences = self._pairs.differences(arm.final, other.final)
            apart = next((d for d in differences if d["metric"] == claim.metric), None)
            if apart is None:
                found.append(row | _open("the two have no seed and test case in common"))
                continue
            tested = (p for p in (apart["wilcoxon_p"], apart["permutation_p"]) if p is not None)
            row |= {**apart, "p": next(tested, None), "least_p": least_p(apart["units"])}
            above = apart["better"] if claim.metric in HIGHER else 1 - apart["better"]
            trust = self._trust(task, row, arm, other)
            if role in ("twin", "ensemble") and (names := differs(arm, other)):
                trust["caveats"].append(f"trained with another {', '.join(names)}")
            found.append(trust | row | {"above": above})
        yield from self._judged(claim, found)

    def _pair(self, role: Role, metric: str, one: str, other: str) -> str:
        if role in ("twin", "ensemble"):
            return self._query("twins", metric=metric, cell=one, against=other)
        both = "', '".join(cell.replace("'", "''") for cell in (one, other))
        return (
            self._query("ablation", metric=metric)
            + f" AND cell IN ('{both}') AND against IN ('{both}')"
        )

    def _over_timesteps(
        self,
        claim: Claim,
        look: Callable[[Probed], timestep_tests.Found],
        curves: dict[str, Probed],
    ) -> Iterator[Row]:
        """Claims 2 and 3: curves over t of each diffusion model."""
        found: list[Row] = []
        for task, arm in self._arms:
            row = self._about(claim, task, arm)
            row |= {"source": self._query("fingerprints", cell=arm.cell, axis="t")}
            probed = curves.get(arm.cell)
            if probed is None or not len(probed.runs):
                found.append(row | _open("it was not probed over timesteps"))
                continue
            if len(probed.bins) < 3:
                found.append(row | _open("it was probed in fewer than three strata of timesteps"))
                continue
            seen = look(probed)
            row |= {"value": seen.value, "value_against": seen.against, "p": seen.p}
            row |= {"difference": seen.value - seen.against, "units": seen.units}
            row |= dict(zip(ENDS, (seen.low, seen.high), strict=True))
            row |= {"seeds": len(np.unique(probed.runs)), "images": len(np.unique(probed.cases))}
            row |= {"groups": len(np.unique(probed.groups))}
            row |= {"least_p": least_p(seen.units), "where": seen.where}
            found.append(self._trust(task, row, arm) | row)
        yield from self._judged(claim, found)

    def _of_tasks(self) -> Iterator[Row]:
        """Claim 4: pairs of tasks, as the view ``distances`` has them."""
        mine = {arm.cell: (task, arm) for task, arm in self._arms}
        pairs = [
            r
            for r in self._tables["distances"].to_pylist()
            if (r["study"], r["normalisation"]) == (self._study, "unit")
            and r["cell"] in mine
            and r["against_cell"] in mine
        ]
        if not pairs:
            why = "there are no two tasks with a diffusion model that was trained alike and probed"
            source = self._query("distances")
            yield {**self._about(OWN), **_open(why), "source": source}
            return
        found: list[Row] = []
        for pair in pairs:
            sides = [mine[pair[k]] for k in ("cell", "against_cell")]
            row = self._about(OWN, f"{pair['task']} and {pair['against']}", sides[0][1])
            row |= {"against": pair["against_cell"], "p": pair["p"]}
            row |= {"both": (pair["task"], pair["against"]), **_sizes(pair)}
            row |= {
                "source": self._query("distances", cell=row["cell"], against_cell=row["against"])
            }
            row |= {"value": pair["wasserstein"], "value_against": pair["wasserstein_seeds"]}
            if pair["wasserstein"] is None:
                found.append(row | _open("the image tells nothing on one of them"))
                continue
            if pair["wasserstein_seeds"] is None:
                found.append(row | _open("one training run a task: how far runs are apart is open"))
                continue
            for end, name in zip(("", "_low", "_high"), ("difference", *ENDS), strict=True):
                row[name] = pair[f"wasserstein{end}"] - pair["wasserstein_seeds"]
            row["seeds"] = min(arm.trials["seed"].nunique() for _, arm in sides)
            trust = [self._trust(task, row, arm) for task, arm in sides]
            joined = {
                k: list(dict.fromkeys(why for one in trust for why in one[k]))
                for k in ("doubts", "caveats")
            }
            if row["seeds"] == 2:
                joined["caveats"].append(
                    "how far apart two training runs are says little of others"
                )
            found.append(row | joined)
        yield from self._judged(OWN, found)

    def _trust(self, task: str, row: Row, *arms: Arm) -> Row:
        """Why the arms' networks are not to be judged yet, and what a verdict of the row, of so
        many seeds, images and groups, leaves open.
        """
        floor = self._casts[task].floor
        doubts = [self._learning.doubt(a.cell, a.trials, floor, a.networks) for a in arms]
        unknown = [a.cell for a in arms if self._learning.gain(a.trials, a.networks) is None]
        caveats = [f"of one training run{' each' * (len(arms) > 1)}"] * (row["seeds"] == 1)
        if unknown:
            caveats.append(f"whether {' and '.join(unknown)} had finished learning is not known")
        sides = row["sides"] if "sides" in row else [(row["images"], row["groups"])]
        for images, groups in sides:
            if groups < min(FEWEST, images):
                of = "one group" if groups == 1 else f"{groups} groups"
                caveats.append(f"of {images} cases of {of}: nothing is told of others")
        return {"doubts": [d for d in doubts if d], "caveats": caveats}

    def _judged(self, claim: Claim, found: list[Row]) -> Iterator[Row]:
        """The rows with their verdicts, p-values adjusted; then one per model over all tasks."""
        _verdicts(claim, found)
        yield from found
        models = dict.fromkeys(row["model"] for row in found)
        by_model = [[row for row in found if row["model"] == model] for model in models]
        over = [self._over_tasks(claim, mine) for mine in by_model if len(mine) > 1]
        _verdicts(claim, over)
        yield from over

    def _over_tasks(self, claim: Claim, mine: list[Row]) -> Row:
        """Of one model: by a test over tasks where there are enough, else on each task."""
        verdict, told = over_all([(row["task"], row["verdict"]) for row in mine])
        told = "; ".join([told, *_reasons(mine)])
        model = str(mine[0]["model"])
        tasks = {task for r in mine for task in r.get("both", (r["task"],))}
        row = {**self._about(claim), "model": model, "tasks": len(tasks)}
        named = {"statement": claim.statement, "metric": claim.metric, "model": model}
        row["source"] = self._query("claims", **named)
        as_trained, _ = over_all([(row["task"], row["as_trained"]) for row in mine])
        judged = {"verdict": verdict, "as_trained": as_trained, "why": told}
        apart = np.array([r["difference"] for r in mine if r.get("difference") is not None])
        if claim.against is None or least_p(len(apart)) > LEVEL:
            return row | judged
        from scipy import stats  # half a second to import, which only this needs

        spread = float(stats.t.ppf(0.975, len(apart) - 1) * stats.sem(apart))
        mean = float(apart.mean())
        row |= {"difference": mean, **dict(zip(ENDS, (mean - spread, mean + spread), strict=True))}
        moved: Any = stats.wilcoxon(apart[apart != 0]) if (apart != 0).any() else None
        row |= {"p": 1.0 if moved is None else float(moved.pvalue), "tasks": len(apart)}
        doubts = list(dict.fromkeys(doubt for r in mine for doubt in r.get("doubts", [])))
        trust = {"units": len(apart), "least_p": least_p(len(apart)), "doubts": doubts}
        return row | trust | {"caveats": [told]}


def _verdicts(claim: Claim, found: list[Row]) -> None:
    """Fill in ``p_holm``, and the verdict where there is none yet."""
    p = np.array([np.nan if row.get("p") is None else row["p"] for row in found], np.float64)
    many = int((~np.isnan(p)).sum())
    for row, adjusted in zip(found, holm(p).tolist(), strict=True):
        row["p_holm"] = None if math.isnan(adjusted) else adjusted
        if "verdict" in row:
            continue
        low, high = (math.nan if row[end] is None else float(row[end]) for end in ENDS)
        found_so, why = judge(
            Evidence(
                low,
                high,
                claim.sign,
                p_holm=adjusted,
                units=row["units"],
                least_p=row["least_p"] * many,
                above=row.get("above"),
                caveats=row["caveats"],
            )
        )
        why = "; ".join(row["doubts"]) or why
        where = f"{row['where']}: " if row.get("where") else ""
        verdict = "can not be told" if row["doubts"] else found_so
        row |= {"verdict": verdict, "as_trained": found_so, "why": where + why}


def _sizes(pair: Row) -> Row:
    """Of both tasks together; a permutation test of two samples has so many splits at most."""
    images, groups = ((pair[k], pair[f"{k}_against"]) for k in ("images", "groups"))
    one, other = (count_units(i, g) for i, g in zip(images, groups, strict=True))
    least = (1 + (one == other)) / math.comb(one + other, one)
    sides = list(zip(images, groups, strict=True))
    sizes = {"images": sum(images), "groups": sum(groups), "units": one + other}
    return {**sizes, "sides": sides, "least_p": least}


def _reasons(found: list[Row]) -> list[str]:
    """Why it is open where it is, the first ones."""
    whys = dict.fromkeys(r["why"] for r in found if r["verdict"] == "can not be told")
    more = [f"{len(whys) - REASONS} more reasons"] if len(whys) > REASONS else []
    return [*list(whys)[:REASONS], *more]


def _open(why: str) -> Row:
    return {"verdict": "can not be told", "as_trained": "can not be told", "why": why}
