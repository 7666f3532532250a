"""No sequence of processes and faults loses, doubles or changes an acknowledged row.

``make simulate`` runs ten thousand sequences, and ``make mutants`` shows that they find planted
faults; here are some of them, and those that once found a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from orchestrator.ledger.ledger import Ledger
from tests.simulation import damage
from tests.simulation.actions import (
    Commit,
    Compact,
    Drive,
    Drivers,
    Leave,
    Rebuild,
    Renew,
    Vacuum,
)
from tests.simulation.bucket import URL
from tests.simulation.damage import DAY
from tests.simulation.delta import SimulatedTable
from tests.simulation.machine import MACHINE_TYPES, simulate
from tests.simulation.world import Pause, World

FIRST = Commit(machine=0, digest="d1", outcome="finished", rows=1)
SECOND = Commit(machine=0, digest="d2", outcome="finished", rows=2)


@pytest.fixture
def world() -> Iterator[World]:
    simulated = World()
    yield simulated
    simulated.close()


@pytest.mark.parametrize(("kind", "sequences"), [("rows", 120), ("drivers", 180)])
def test_sequences_lose_double_and_change_no_row(kind: str, sequences: int) -> None:
    simulate(MACHINE_TYPES[kind], sequences)


@pytest.mark.parametrize("request_number", [1, 2, 3])
def test_a_writer_that_slept_for_days_has_its_objects_after_a_vacuum(
    world: World, request_number: int
) -> None:
    FIRST(world)
    meanwhile = {request_number: Pause(2 * DAY, Vacuum(machine=1))}
    Commit(machine=0, digest="d2", outcome="finished", rows=2, plan=meanwhile)(world)
    assert "d2" in Ledger(world.store).commits()
    world.check()


@pytest.mark.parametrize("request_number", range(2, 30))
def test_a_rebuild_that_slept_through_its_lease_leaves_whole_tables(
    world: World, request_number: int
) -> None:
    for commit in (FIRST, SECOND):
        commit(world)
        Compact(machine=0)(world)
    Rebuild(machine=1, plan={request_number: Pause(200.0, Compact(machine=0))})(world)
    world.check()


@pytest.mark.parametrize("request_number", range(30))
def test_tables_are_whole_after_a_rebuild_is_killed(world: World, request_number: int) -> None:
    for commit in (FIRST, SECOND):
        commit(world)
        Compact(machine=0)(world)
    Rebuild(machine=0, plan={request_number: "dies before"})(world)
    world.check()
    Compact(machine=0)(world)
    world.check()


@pytest.mark.parametrize("request_number", range(5, 25))
def test_the_lost_record_of_a_batch_that_was_begun_is_named_by_readers(
    world: World, request_number: int
) -> None:
    FIRST(world)
    Compact(machine=0, plan={request_number: "dies after"})(world)
    damage.strike(world, "record", 0, lost=True)


def test_a_study_that_is_released_and_taken_meanwhile_is_not_driven_twice(world: World) -> None:
    Drive(machine=0)(world)
    meanwhile = {1: Pause(0.0, Leave(machine=0)), 2: Pause(0.0, Drive(machine=0))}
    Drive(machine=0, plan=meanwhile)(world)
    Drivers(machine=0)(world)


@pytest.mark.parametrize("request_number", range(115, 135))
def test_a_driver_that_wakes_up_while_it_is_taken_over_stops_before_the_next_one_acts(
    world: World, request_number: int
) -> None:
    Drive(machine=0)(world)
    world.drivers[0].awake = False
    Drive(machine=1, plan={request_number: Pause(0.0, Renew(machine=0))})(world)
    Drivers(machine=0)(world)


@pytest.mark.parametrize("request_number", range(1, 5))
def test_a_driver_that_slept_and_whose_requests_fail_once_stops_before_the_next_one_acts(
    world: World, request_number: int
) -> None:
    Drive(machine=1)(world)
    world.drivers[0].awake = False
    Renew(machine=0, plan={0: "answer lost", request_number: "answer lost"})(world)
    Drive(machine=0)(world)
    assert len(world.drivers) == 2
    Drivers(machine=0)(world)


def test_the_model_of_deltalake_does_what_deltalake_does(world: World, tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    table = type("Model", (SimulatedTable,), {"bucket": world.bucket})
    assert _log(table, f"{URL}/tables/t", schema) == _log(DeltaTable, str(tmp_path / "t"), schema)


def _log(kind: Any, uri: str, schema: pa.Schema) -> list[object]:
    """Return what a log shows after two committers and a refused one."""
    kind.create(uri, schema, mode="ignore")
    kind.create(uri, schema, mode="ignore")
    first, second, third = kind(uri), kind(uri), kind(uri)
    seen: list[object] = [first.version(), first.metadata().id == second.metadata().id]

    def write(table: Any, path: str, serial: int, *removed: str) -> None:
        added = AddAction(path, 10, {}, 0, True, '{"numRecords": 3}')
        gone = [RemoveAction(name, False, 0, 10, {}) for name in removed]
        transactions = [Transaction("serial", serial)]
        table.create_write_transaction(
            [added, *gone],
            "append",
            schema,
            commit_properties=CommitProperties(app_transactions=transactions),
        )

    write(first, "a.parquet", 1)
    with pytest.raises(CommitFailedError):
        write(second, "b.parquet", 1)
    third.update_incremental()
    write(third, "c.parquet", 2, "a.parquet")
    for table in (first, third, kind(uri)):
        files = pa.table(table.get_add_actions())
        columns = [files[c].to_pylist() for c in ("path", "size_bytes", "num_records")]
        seen += [table.version(), table.transaction_version("serial"), columns]
    return seen
