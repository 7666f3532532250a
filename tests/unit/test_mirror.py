"""What a mirror of a sweep is shown, and what becomes of its failures; the callback is ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orchestrator.sweep.trackers import Mirror

TRIAL = SimpleNamespace(
    trial_id="t1",
    experiment_dir_name="study",
    config={"config": {"seed": 3}, "digest": "d1", "sink": "of the ledger", "cpus": 1},
)
RESULT = {"score": 0.5, "step": 4, "steps": 8, "training_iteration": 2, "config": TRIAL.config}


class Seen:
    """Keeps what it is told; raises where it is asked to."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.calls = fails, list[tuple[Any, ...]]()

    def __getattr__(self, name: str) -> Any:
        def called(*arguments: Any, **named: Any) -> None:
            if name == self.fails:
                raise OSError("the server is away\nand more")
            self.calls.append((name, *arguments, *named.values()))

        return called


def told(seen: Seen) -> list[str]:
    """One trial from start to end; what the sweep's screen says of it."""
    notes = list[str]()
    mirror = Mirror("mlflow", lambda: seen, notes.append)
    mirror.on_trial_start(0, [], TRIAL)
    mirror.on_trial_result(1, [], TRIAL, RESULT)
    mirror.on_trial_result(2, [], TRIAL, {**RESULT, "score": None})
    mirror.on_trial_complete(2, [], TRIAL)
    mirror.on_experiment_end([])
    return notes


def test_a_mirror_sees_digest_config_and_validations_in_order_and_nothing_else() -> None:
    seen = Seen()
    assert told(seen) == []
    names = [name for name, *_ in seen.calls]
    assert names == [
        "setup",
        "log_trial_start",
        "log_trial_result",
        "log_trial_result",
        "log_trial_end",
        "on_experiment_end",
    ]
    _, shown = seen.calls[1]
    assert shown.config == {"digest": "d1", "seed": 3}
    assert str(shown) == "d1"
    _, _, _, result = seen.calls[2]
    assert result == {"score": 0.5, "step": 4, "training_iteration": 2, "timesteps_total": 4}
    assert "score" not in seen.calls[3][3]
    assert seen.calls[4][1:] == (shown, False)
    assert "of the ledger" not in str(seen.calls)


def test_whatever_a_mirror_raises_is_one_line_and_stops_nothing() -> None:
    for place in ("setup", "log_trial_start", "log_trial_result", "on_experiment_end"):
        notes = told(Seen(fails=place))
        assert notes == ["mlflow: the server is away; the sweep continues without this mirror"]
