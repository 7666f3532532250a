"""``segprint status`` of a study while it runs, after a kill, and what running trials report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.driver_lock import DriverLock
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.process_identity import ProcessIdentity
from orchestrator.ledger.sink import LedgerSink
from orchestrator.planning.trial_state import LEASE_SECONDS
from orchestrator.storage.object_store import Store
from tests.conftest import Segprint
from trainables.config import Config
from trainables.runtime.worker_context import WorkerContext
from trainables.training.attempt import attempt
from trainables.training.loop import Progress
from trainables.training.run_status import RunStatus, StatusMeter, thinned

STUDY, REVISION = "study", "r1"


def declare(ledger: Ledger, cell: str, config: Config, **values: Any) -> str:
    """Declare a trial of the study; a search trial if it has values."""
    ledger.studies.describe(STUDY, {"question": "", "arms": ["default"], "revision": REVISION})
    stage, digest = "search" if values else "final", config.digest()
    slot = Declared(STUDY, REVISION, cell, stage, 0, digest)
    about = {"arm": "default", "config": config.plain(), "values": values}
    ledger.studies.declare(slot, about)  # type: ignore[arg-type]
    return digest


def begin(ledger: Ledger, config: Config) -> Iterator[Progress]:
    """Train up to the first validation, and write its checkpoint and status."""
    run = attempt(config, LedgerSink(ledger, "code"), WorkerContext())
    progress = next(run)
    while progress.score is None:
        progress = next(run)
    progress.keep()
    return run


def change(ledger: Ledger, digest: str, **fields: Any) -> None:
    """Change stored fields of a lease."""
    key = ledger.leases.key(digest)
    ledger.store.put(key, json.dumps({**json.loads(ledger.store.get(key)), **fields}).encode())


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, ledger: Ledger, inline: Segprint) -> Store:
    """A store in a directory or in a bucket; the environment leads to both."""
    if request.param == "directory":
        return ledger.store
    inline("ls", **request.getfixturevalue("s3"))
    return Store("s3://segprint/status")


def test_running_trials_show_step_score_speed_and_place(
    store: Store, small: Callable[..., Config], inline: Segprint
) -> None:
    ledger = Ledger(store)
    linear, cosine = (
        small(mode={"diffusion": {"schedule": name, "sampler": {"ddim": {"steps": 2}}}})
        for name in ("linear", "cosine")
    )
    digest = declare(ledger, "synthetic_linear_default", linear)
    declare(ledger, "synthetic_cosine_default", cosine)
    run = begin(ledger, linear)
    shown = inline("--store", store.url, "status", STUDY)
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith("linear final 0"))
    assert "2 of 6" in line
    assert ProcessIdentity.current().host in line
    rows = json.loads(inline("--store", store.url, "status", STUDY, "--json").stdout)
    running = {row["cell"]: row["in_flight"] for row in rows}
    assert running["synthetic_cosine_default"] == []
    (trial,) = running["synthetic_linear_default"]
    assert (trial["digest"], trial["step"], trial["steps"]) == (digest, 2, 6)
    assert trial["phase"] == "training"
    assert 0 <= trial["score"] <= 1
    run.close()  # type: ignore[attr-defined]


def test_a_final_trial_runs_though_a_search_has_stopped_its_config(
    ledger: Ledger, small: Callable[..., Config], inline: Segprint
) -> None:
    """The search pruned it; as a final trial the same config is trained to its end."""
    digest = declare(ledger, "searched", small(), lr=0.1)
    ledger.commit(digest, "pruned", {"trials": [{"outcome": "pruned"}]})
    declare(ledger, "default", small())
    ledger.leases.acquire(digest, RunStatus(step=3, steps=6))
    rows = json.loads(inline("--store", ledger.store.url, "status", STUDY, "--json").stdout)
    in_flight = {row["stage"]: [t["step"] for t in row["in_flight"]] for row in rows}
    assert in_flight == {"search": [], "final": [3]}
    (listed,) = json.loads(inline("--store", ledger.store.url, "ls", "studies", "--json").stdout)
    assert (listed["trials"], listed["committed"]) == (2, 1)


def test_a_killed_trial_and_driver_are_named_with_their_last_sign(
    ledger: Ledger, small: Callable[..., Config], inline: Segprint
) -> None:
    digest = declare(ledger, "default", small())
    begin(ledger, small()).close()  # type: ignore[attr-defined]
    change(ledger, digest, born="0")
    lock = DriverLock(ledger.store, STUDY, 1, 0.0)
    ledger.store.put(lock.key, json.dumps({**json.loads(lock.dump()), "born": "0"}).encode())
    shown = inline("--store", ledger.store.url, "status", STUDY).stdout
    assert "nobody drives it now: process" in shown
    assert "synthetic ensemdiff diffusion final 0: interrupted at step 2 of 6" in shown
    assert "steps/s" not in shown
    rows = json.loads(inline("--store", ledger.store.url, "status", STUDY, "--json").stdout)
    assert [trial["alive"] for row in rows for trial in row["in_flight"]] == [False]


def test_a_silent_process_of_another_machine_counts_as_interrupted(
    ledger: Ledger, small: Callable[..., Config], inline: Segprint
) -> None:
    digest = declare(ledger, "default", small(), lr=0.1)
    ledger.leases.acquire(digest, RunStatus(step=3, steps=6, host="far"))
    elsewhere = {"machine": "another", "host": "far"}
    change(ledger, digest, **elsewhere)
    assert "lr=0.1" in inline("--store", ledger.store.url, "status", STUDY).stdout
    at = json.loads(ledger.store.get(ledger.leases.key(digest)))["at"]
    change(ledger, digest, at=at - LEASE_SECONDS - 1)
    shown = inline("--store", ledger.store.url, "status", STUDY).stdout
    assert "interrupted at step 3 of 6" in shown
    assert "on far" in shown


@pytest.mark.parametrize("status", ["x", {"step": "many"}, {"step": 1, "steps": None}, [1]])
def test_a_damaged_status_hides_no_trial(
    status: object, ledger: Ledger, small: Callable[..., Config], inline: Segprint
) -> None:
    digest = declare(ledger, "default", small())
    ledger.leases.acquire(digest)
    change(ledger, digest, status=status)
    shown = inline("--store", ledger.store.url, "status", STUDY).stdout
    assert "preparing" in shown


def test_the_time_left_is_that_of_the_steps_and_of_the_tests_of_the_cell(
    ledger: Ledger, small: Callable[..., Config], inline: Segprint
) -> None:
    for seed, seconds in enumerate((20.0, 30.0, 80.0), start=1):
        config = small(seed=seed)
        digest = declare(ledger, "default", config)
        row = {"outcome": "finished", "config": "{}", "reading_seconds": seconds}
        ledger.commit(digest, "finished", {"trials": [row]})
    running = declare(ledger, "default", small())
    status = RunStatus(step=100, steps=600, steps_per_second=5.0)
    ledger.leases.acquire(running, status)
    rows = json.loads(inline("--store", ledger.store.url, "status", STUDY, "--json").stdout)
    (trial,) = (trial for row in rows for trial in row["in_flight"])
    assert trial["seconds_left"] == pytest.approx((600 - 100) / 5.0 + 30.0, abs=10)
    ledger.leases.acquire(running, RunStatus(step=600, steps=600, steps_per_second=5.0))
    assert "testing" in inline("--store", ledger.store.url, "status", STUDY).stdout


def test_the_speed_is_that_of_the_last_minutes(small: Callable[..., Config]) -> None:
    times = iter([0.0, 100.0, 200.0, 1000.0, 1100.0])
    meter = StatusMeter(clock=lambda: next(times))
    for step in (0, 50, 100, 1000, 1200):
        meter.update(Progress(step, 2000, None, [], [], lambda: b""))
    assert meter.status.steps_per_second == pytest.approx((1200 - 1000) / 100)
    assert meter.status.training_left == pytest.approx((2000 - 1200) / 2)


def test_a_heartbeat_renews_the_status_of_its_own_run_only(ledger: Ledger) -> None:
    sink = LedgerSink(ledger, "code")
    sink.resume("d1")
    sink.alive("d1", RunStatus(step=5, steps=9))
    lease = ledger.leases.all()["d1"]
    assert lease.status == RunStatus(step=5, steps=9)
    change(ledger, "d1", pid=1)
    sink.alive("d1", RunStatus(step=6, steps=9))
    assert ledger.leases.all()["d1"].status == lease.status


def test_a_status_stays_small_and_survives_its_store() -> None:
    curve = thinned([(i, i / 10_000) for i in range(10_000)])
    status = RunStatus(9_999, 20_000, 1.5, "cpu", "node", 2, curve)
    text = json.dumps(status.plain())
    assert len(text) < 2_000
    assert RunStatus.parse(json.loads(text)) == status
    assert RunStatus.parse({**status.plain(), "steps_per_second": float("nan")}) is None
