"""Damage to a store, and copies of it: each loss is named or harmless, and has a cure."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import timedelta

from orchestrator.ledger.commits import DamagedError
from orchestrator.ledger.ledger import Ledger
from orchestrator.tables import compaction, compaction_log, integrity, vacuum
from orchestrator.tables.lost_records import restore
from orchestrator.tables.snapshot import Snapshot
from tests.simulation.bucket import Object
from tests.simulation.world import World

KINDS = {
    "record": "commits/",
    "object": "trials/",
    "batch": "tables/batches/",
    "log": "tables/",
    "seal": "tables/",
    "file": "tables/",
}
HOUR = 3600.0
DAY = 24 * HOUR


def copy(world: World) -> None:
    """Copy the store."""
    world.other = dict(world.bucket.objects), world.history.copy()


def swap(world: World) -> None:
    """Use the copy of the store, as after the restoration of a backup; the store is kept."""
    if world.other is not None:
        saved = dict(world.bucket.objects), world.history
        objects, world.history = world.other
        world.other = saved
        _replace(world, objects)


def overlay(world: World) -> None:
    """Copy the copy over the store, as with ``cp -r``."""
    if world.other is not None:
        objects, history = world.other
        world.history.merge(history)
        _replace(world, world.bucket.objects | objects)


def _replace(world: World, objects: dict[str, Object]) -> None:
    world.bucket.objects.clear()
    world.bucket.objects.update(objects)
    world.bucket.changes += 1
    world.late.clear()
    world.sleep(HOUR)


def _candidates(world: World, kind: str) -> list[str]:
    """Return the keys that a kind of damage may strike."""
    keys = sorted(key for key in world.bucket.objects if key.startswith(KINDS[kind]))
    match kind:
        case "record":  # a record that nothing names can not be missed
            known = {k for b in compaction_log.batches(world.store) for k in b.members}
            return [key for key in keys if key in known]
        case "object":
            named = b"".join(
                o.value for k, o in world.bucket.objects.items() if k.startswith("commits/")
            )
            return [key for key in keys if key.encode() in named]
        case "log":
            return [key for key in keys if "/_delta_log/" in key]
        case "seal":
            return [key for key in keys if key in ("tables/trials.json", "tables/steps.json")]
        case "file":
            return [k for k in keys if k.endswith(".parquet") and "/_delta_log/" not in k]
        case _:
            return keys


def strike(world: World, kind: str, which: int, *, lost: bool, vacuumed: bool = False) -> None:
    """Lose or falsify an object; what readers miss must be named, and a cure must help.

    ``vacuumed``: garbage is deleted some days later, before the cure.
    """
    if not world.history.exact:
        return
    keys = _candidates(world, kind)
    if not keys:
        return
    key = keys[which % len(keys)]
    before = world.bucket.objects.pop(key)
    world.bucket.changes += 1
    if not lost:
        value = bytearray(before.value)
        value[len(value) // 2] ^= 1
        world.bucket.objects[key] = Object(bytes(value), before.at)
    shutil.rmtree(world.cache, ignore_errors=True)
    snapshot = Snapshot(world.store)
    missing = world.history.missing(snapshot)
    walk = integrity.Check(world.store)
    findings = [f for f in walk.run() if f.kind == "damage"]
    if missing:
        assert snapshot.problems, f"{key}: {missing} is not read, and no problem is reported"
        assert findings, f"{key}: {missing} is not read, and no damage is found"
    if kind in ("record", "object"):
        assert any(key in (f.where, *f.what.replace(":", " ").split()) for f in findings), (
            f"the damage of {key} is not named"
        )
    if vacuumed:
        world.sleep(2 * DAY)
        with suppress(DamagedError):
            world.once(0, {}, lambda: vacuum.collect(Ledger(world.store), timedelta(0)))
    _cure(world, kind, key, before, walk)


def quarantine(world: World) -> None:
    """Set the record of a writer aside that slept for days and died: its objects may be gone."""
    walk = integrity.Check(world.store)
    list(walk.run())
    walk.quarantine()


def _cure(world: World, kind: str, key: str, before: Object, walk: integrity.Check) -> None:
    store = world.store
    if kind == "record" and key in walk.lost:
        restore(store, walk.lost)
    elif kind in ("record", "object"):
        world.bucket.objects[key] = before
    else:
        compaction.rebuild(store)
        world.history.batches.clear()
    world.history.exact = True
    assert not world.history.missing(Snapshot(store))
