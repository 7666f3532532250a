"""Cells of studies with their finished final trials, and the names of their tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pyarrow as pa

from search_spaces._labels import labels

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

IDENTITY = ("study", "task", "arm", "model", "mode", "cell")
"""Columns that identify a cell in the views."""


@dataclass(frozen=True, eq=False)
class FinalCell:
    """A cell of a study with its finished final trials, one per training seed."""

    study: str
    task: str
    """The data set's name, with the settings by which tasks of the study differ, and with the hash
    of its content where several data of this name are in the store."""
    arm: str
    model: str
    mode: str
    cell: str
    trials: pd.DataFrame = field(repr=False)
    """Rows of the view ``trials``, one per trial, with the columns of ``studies``."""

    @property
    def key(self) -> tuple[str, str]:
        """Study and cell, which identify it within a store."""
        return self.study, self.cell

    @property
    def data_hash(self) -> str:
        """The hash of the data of all trials; empty if it is not known."""
        return str(self.trials["data_hash"].fillna("").iloc[0])

    @cached_property
    def trained_on(self) -> str:
        """The name of the data set of the training, which differs from ``task`` in external tests.

        Of two data sets with one name, the settings that differ are added.
        """
        if not self.external:
            return self.task
        name = str(self.trials["trained_on"].iloc[0])
        both = (self.config["task"], tested(self.config))
        return labels(both)[0] if name == self.trials["task"].iloc[0] else name

    @property
    def external(self) -> bool:
        """Whether the trials are tested on other data than their training's."""
        return tested(self.config) != self.config.get("task")

    @property
    def training_task(self) -> str:
        """The data set of the training and its settings, as JSON; empty but for external tests."""
        return json.dumps(self.config.get("task"), sort_keys=True) if self.external else ""

    @property
    def baseline(self) -> str | None:
        """The arm or grid value that the study compares all others with; None if it names none."""
        if "baseline" not in self.trials:
            return None
        known = cast("list[str]", self.trials["baseline"].dropna().tolist())
        return known[0] if known else None

    @property
    def identity(self) -> dict[str, str]:
        """The columns of :data:`IDENTITY`."""
        return {column: getattr(self, column) for column in IDENTITY}

    @property
    def digests(self) -> list[str]:
        """Digests of the trials, each once, in the order of the rows."""
        return list(dict.fromkeys(self.trials["digest"]))

    @property
    def seed_of(self) -> dict[str, int]:
        """The training seed of each trial, by digest."""
        digests, seeds = self.trials["digest"].tolist(), self.trials["seed"].tolist()
        return {str(digest): int(seed) for digest, seed in zip(digests, seeds, strict=True)}

    @property
    def mode_settings(self) -> dict[str, Any]:
        """The settings of the mode in the config, but for those that have their default."""
        modes = self.config.get("mode", {})
        return cast("dict[str, Any]", modes).get(self.mode, {}) if isinstance(modes, dict) else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config of the first trial; others differ in the seed, or in what a search found."""
        config = self.trials.iloc[0]["config"]
        return json.loads(config) if isinstance(config, str) and config else {}


def tested(config: Mapping[str, Any]) -> Any:
    """Return the data set that is tested, in plain form: the task, or that of an external test."""
    test: dict[str, Any] = config.get("test") or {}
    return test.get("on") or config.get("task")


def final_cells(tables: Catalog, declared: pa.Table | None = None) -> Iterator[FinalCell]:
    """Every cell of every study that has a finished final trial.

    Trials on other data are another cell, of a task with another name: they are never paired.
    ``declared`` replaces the rows of the view ``studies``, for instance by earlier revisions.
    """
    studies = frame(tables["studies"] if declared is None else declared)
    trials = frame(tables["trials"])
    final = studies[studies["stage"] == "final"].drop(columns=["config"])
    final = final.merge(trials[trials["outcome"] == "finished"], on="digest")
    final["config"] = final["config"].fillna("{}")
    final["data_hash"] = final["data_hash"].fillna("")
    groups = [group for _, group in final.groupby(["study", "cell", "data_hash"], sort=False)]
    first = [group.iloc[0] for group in groups]
    tasks = task_names([(str(r["study"]), str(r["task"]), str(r["config"])) for r in first])
    tasks = _with_data(tasks, [str(r["data_hash"]) for r in first])
    for task, group in zip(tasks, groups, strict=True):
        identity = {column: str(group[column].iloc[0]) for column in IDENTITY}
        yield FinalCell(**{**identity, "task": task}, trials=group)


def without_data(cell: FinalCell) -> str:
    """The name of a cell's task without the hash of its data."""
    return cell.task.removesuffix(_suffix(cell.data_hash))


def _with_data(tasks: list[str], hashes: list[str]) -> list[str]:
    """Append the hash of the data to each task's name that several data have."""
    used: dict[str, set[str]] = {}
    for task, data_hash in zip(tasks, hashes, strict=True):
        used.setdefault(task, set()).add(data_hash)
    return [
        f"{task}{_suffix(data_hash)}" if len(used[task]) > 1 else task
        for task, data_hash in zip(tasks, hashes, strict=True)
    ]


def _suffix(data_hash: str) -> str:
    return f" (data {data_hash[:8] or 'unknown'})"


def frame(table: pa.Table) -> pd.DataFrame:
    """The table as a data frame: ``to_pandas`` with the type that its stubs lack."""
    return cast("Any", table).to_pandas()


def task_names(cells: Sequence[tuple[str, str, str]]) -> list[str]:
    """The task name of each cell, from its study, its data set's name and its config as JSON.

    It is the data set's name. Where one study uses a data set with several settings, the settings
    that differ are appended.
    """
    parsed = [tested(json.loads(config)) for _, _, config in cells]
    settings = [json.dumps(task, sort_keys=True) for task in parsed]
    used: dict[tuple[str, str], dict[str, None]] = {}
    for (study, title, _), setting in zip(cells, settings, strict=True):
        used.setdefault((study, title), {})[setting] = None
    names: dict[tuple[str, str, str], str] = {}
    for (study, title), several in used.items():
        called = labels(tuple(json.loads(setting) for setting in several))
        for setting, label in zip(several, called, strict=True):
            names[study, title, setting] = label if len(several) > 1 else title
    return [names[s, title, k] for (s, title, _), k in zip(cells, settings, strict=True)]


def common_prefixes(tables: Catalog) -> dict[tuple[str, str], str]:
    """The prefix that the names of all cells of a task share, by study and cell.

    It is empty or ends with an underscore. All declared cells count, so that a prefix does not
    depend on which trials have finished.
    """
    parts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in tables["studies"].select(["study", "stage", "cell", "config"]).to_pylist():
        if row["stage"] == "final":
            task = json.dumps(tested(json.loads(row["config"])), sort_keys=True)
            parts.setdefault((row["study"], task), {})[row["cell"]] = row["cell"].split("_")
    prefixes: dict[tuple[str, str], str] = {}
    for (study, _), by_cell in parts.items():
        names = list(by_cell.values())
        common = 0
        while all(len(n) > common + 1 and n[common] == names[0][common] for n in names):
            common += 1
        prefix = "".join(f"{part}_" for part in names[0][:common])
        prefixes |= {(study, cell): prefix for cell in by_cell}
    return prefixes


def cells_by_study(cells: Iterable[FinalCell]) -> dict[str, list[FinalCell]]:
    """The cells of each study."""
    groups: dict[str, list[FinalCell]] = {}
    for cell in cells:
        groups.setdefault(cell.study, []).append(cell)
    return groups


def cells_by_task(cells: Iterable[FinalCell]) -> dict[tuple[str, str], list[FinalCell]]:
    """The cells of each study and task."""
    groups: dict[tuple[str, str], list[FinalCell]] = {}
    for cell in cells:
        groups.setdefault((cell.study, cell.task), []).append(cell)
    return groups
