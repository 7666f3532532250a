"""Random spaces, searched with real trainings: what was asked is what ran, is stored and shown.

Each example is one study: its searches run in rounds that are interrupted, as a sweep runs them,
without Ray. Then every trial is compared with the space, in Optuna, in the views and in a training
of the stored config.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.cells import Cell
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.search.history import SearchHistory
from orchestrator.search.optuna_search import export_sqlite
from orchestrator.storage.object_store import Store
from orchestrator.sweep.declarations import declare
from orchestrator.sweep.round import Round
from search_spaces import Choice, Integer, Space, Uniform, walk
from tests.spaces import MODEL, SCHEDULE, spaces
from tests.unit.test_sweep import begun
from trainables.config import parse
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt
from trainables.training.loop import train
from trainables.worker import report_of

# -- a sweep without Ray ----------------------------------------------------------------------


def run(one: Round, most: int) -> None:
    """Train up to so many trials of a round, as Tune does."""
    for number in range(most):
        name = f"tune{number}"
        trial = one.next(name)
        if trial is None:
            return
        running = attempt(trial.config, one.sink, WorkerContext(), trial.digest)
        result: dict[str, Any] = {}
        first = True
        while not result:
            try:
                progress = next(running)
            except StopIteration as end:
                result = {**end.value._asdict(), "done": True}
            else:
                if not one.reported(name, report_of(progress, first=first)):
                    running.close()
                    break
                first = False
        one.ended(name, result, None)


Live = dict[str, set[str]]
"""The values of the trials that Optuna was told to have ended with a score, as JSON, by cell."""


def swept(space: Space, ledger: Ledger, most: int) -> Live:
    """Run the study in rounds of so many trials; a search is continued by the next round."""
    live = Live()
    for _ in range(40):
        one = begun(ledger, space)
        searches = list(one.queue.searches)
        run(one, most)
        for search in searches:
            ended = search.study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
            live.setdefault(search.cell.name, set()).update(as_json(t.params) for t in ended)
        plan = make_plan("s", space, ledger)
        if plan.complete:
            declare(plan, ledger)
            return live
    raise AssertionError("the study does not end")


def as_json(values: dict[str, Any]) -> str:
    """The text of values, which differs for 1, 1.0 and true."""
    return json.dumps(values, sort_keys=True)


# -- what must hold ---------------------------------------------------------------------------


def matches(template: Any, config: Any, values: dict[str, Any], path: str = "") -> set[str]:
    """Compare a stored config with a template and values; return the paths of active parameters."""
    if isinstance(template, Choice):
        option = values[path]
        fields = template.values[option] if isinstance(template.values, Mapping) else {}
        if isinstance(config, Mapping):  # a part
            assert list(config) == [option], path
            return {path} | matches(fields, config[option], values, f"{path}.{option}")
        assert same(config, option), path
        return {path}
    if isinstance(template, (Uniform, Integer)):
        assert same(config, values[path]), path
        return {path}
    if isinstance(template, Mapping):
        deeper = [
            matches(inner, config[key], values, f"{path}.{key}" if path else key)
            for key, inner in template.items()
        ]
        return set[str]().union(*deeper)
    if isinstance(template, str) and isinstance(config, Mapping):
        assert list(config) == [template], path
    else:
        assert same(config, template), path
    return set()


def nesting(values: dict[str, Any]) -> int:
    """The largest number of choices inside which a value is searched."""
    around = [sum(path.startswith(f"{outer}.") for outer in values) for path in values]
    return max(around, default=0)


def same(committed: Any, asked: Any) -> bool:
    """Whether two values are equal with their types; a field of real numbers has 1 as 1.0."""
    if type(committed) is float and type(asked) is int:
        asked = float(asked)
    return type(committed) is type(asked) and committed == asked


def within(parameter: Any, value: Any) -> bool:
    """Whether a value is in its domain, by exact arithmetic where there are steps."""
    if isinstance(parameter, Choice):
        return any(type(v) is type(value) and v == value for v in parameter.values)
    if type(value) is not (int if isinstance(parameter, Integer) else float):
        return False
    steps = [Decimal(0)]
    if parameter.step is not None:
        offset = Decimal(value) - Decimal(str(parameter.low))
        steps.append(offset / Decimal(str(parameter.step)))
    return parameter.low <= value <= parameter.high and abs(
        steps[-1] - steps[-1].to_integral_value()
    ) < Decimal("1e-12")


def satisfied(rule: str, config: dict[str, Any]) -> bool:
    fields = {**config["train"], "augment": SimpleNamespace(**config["train"]["augment"])}
    return bool(eval(rule, {"train": SimpleNamespace(**fields)}))


def check(space: Space, ledger: Ledger, live: Live, retrained: int) -> None:
    """Check every trial of an ended study; train the last few of them again."""
    plan, views = make_plan("s", space, ledger), catalog(ledger, ("s",))
    cells = {cell.name: cell for cell in plan.cells}
    trained = {row["digest"]: row for row in views["trials"].to_pylist()}
    declared = views["studies"].to_pylist()
    optuna_trials, search = exported(plan, ledger), space.search
    assert search is not None
    for row in declared:
        cell, values, trial = (
            cells[row["cell"]],
            json.loads(row["searched"]),
            trained[row["digest"]],
        )
        config = json.loads(trial["config"])
        assert json.loads(row["config"]) == config
        check_config(cell, config, values, search.overrides if row["stage"] == "search" else {})
        assert row["stage"] == "final" or config["seed"] == search.seed
        event(f"{row['stage']} {trial['outcome']}")
        event(f"{nesting(values)} choices around a value")
    for cell in filter(lambda cell: cell.searched, plan.cells):
        rows = [row for row in declared if row["cell"] == cell.name]
        searched = {row["index"]: row for row in rows if row["stage"] == "search"}
        finals = {row["searched"] for row in rows if row["stage"] == "final"}
        scored = {
            row["searched"]
            for row in searched.values()
            if trained[row["digest"]]["outcome"] in ("finished", "pruned")
        }
        assert sorted(searched) == list(range(search.trials))
        assert live[cell.name] == scored
        assert finals <= scored
        assert optuna_trials[cell.name] == [
            (row["searched"], row["digest"]) for _, row in sorted(searched.items())
        ]
    for row in declared[-retrained:]:
        check_training(views, trained[row["digest"]])


def check_config(
    cell: Cell, config: dict[str, Any], values: dict[str, Any], overrides: Mapping[str, Any]
) -> None:
    """Compare a stored config with the space, the suggested values and the overrides."""
    template: Any = cell.template
    final = {**config, "train": {**config["train"], "steps": template["train"]["steps"]}}
    assert all(satisfied(rule, final) for rule in cell.constraints)
    for path, value in overrides.items():
        head, field = path.split(".")
        assert config[head][field] == value
        template = {**template, head: {k: v for k, v in template[head].items() if k != field}}
    active = matches(template, config, values)
    assert active == values.keys()
    parameters = dict(walk(cell.template))
    assert all(within(parameters[path], value) for path, value in values.items())


def exported(plan: Plan, ledger: Ledger) -> dict[str, list[tuple[str, str]]]:
    """Read what Optuna was given from its own storage: values and digests, by cell."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "search.db"
        names = export_sqlite(plan, SearchHistory(plan, ledger), file)
        storage = f"sqlite:///{file}"
        studies = {n: optuna.load_study(study_name=n, storage=storage) for n in names}
        return {
            name.removeprefix("s/"): [
                (as_json(t.params), t.user_attrs["digest"]) for t in study.trials
            ]
            for name, study in studies.items()
        }


def check_training(views: Any, row: dict[str, Any]) -> None:
    """Train the stored config again: the stored losses and scores are its own."""
    *_, last = train(parse(json.loads(row["config"])), WorkerContext())
    steps = [r for r in views["steps"].to_pylist() if r["digest"] == row["digest"]]
    steps.sort(key=lambda r: r["step"])
    kept = last.history[: len(steps)] if row["outcome"] == "pruned" else last.history
    for name in ("step", "loss_sum", "loss_count", "score_sum"):
        assert [r[name] for r in steps] == [r[name] for r in kept]


AS_DRAWN = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failing study is not made smaller: each of its many attempts would train again."""


def study_of(data: st.DataObject, deep: bool, retrained: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("mine", SCHEDULE), ("pixelwise", MODEL)):
            (Path(folder) / f"{name}.py").write_text(text)
        space = data.draw(spaces(folder, deep))
        ledger = Ledger(Store(str(Path(folder) / "store")))
        live = swept(space, ledger, data.draw(st.integers(1, 4)))
        check(space, ledger, live, retrained)


@pytest.mark.parametrize("deep", [True, False])
@settings(max_examples=2, phases=AS_DRAWN)
@given(data=st.data())
def test_every_trial_is_what_was_asked(data: st.DataObject, deep: bool) -> None:
    study_of(data, deep, retrained=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("deep", [True, False])
@settings(max_examples=20, phases=AS_DRAWN)
@given(data=st.data())
def test_every_trial_is_what_was_asked_in_many_spaces(data: st.DataObject, deep: bool) -> None:
    study_of(data, deep, retrained=4)
