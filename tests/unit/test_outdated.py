"""Trials that an older version committed: said to be trained anew, with the fields that are new."""

from __future__ import annotations

import dataclasses

from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.plan import make_plan
from orchestrator.planning.stale_configs import Outdated, outdated
from tests.unit.test_plan import finish, space
from trainables.config import parse
from trainables.part_fields import BEFORE
from trainables.settings import Evaluation
from trainables.trusted_files import only_trusted


def test_what_was_committed_before_a_field_existed_is_said_to_be_trained_anew(
    ledger: Ledger,
) -> None:
    def found() -> Outdated | None:
        return outdated(make_plan("s", space(), ledger), ledger)

    first, second = make_plan("s", space(), ledger).pending
    young = dataclasses.replace(second.config, seed=99)  # another space of the same study had it
    old = first.config.plain()
    del old["train"]["fraction"]
    for revision, digest, spec in (("r1", "0" * 16, old), ("r2", young.digest(), young.plain())):
        place = Declared("s", revision, first.cell.name, "final", 0, digest)
        ledger.studies.declare(place, {"arm": first.cell.arm, "config": spec, "values": {}})
    assert found() is None  # nothing is committed
    finish(ledger, young.digest())
    assert found() is None  # it lacks nothing, and its digest is that of its config
    finish(ledger, "0" * 16)
    assert found() == Outdated(1, ["train.fraction"])
    assert "before train.fraction existed" in str(found())


def test_trials_on_tiles_are_named_where_the_config_names_no_unit(ledger: Ledger) -> None:
    """They were committed when tiles were the default, and are used once the config says so."""
    trial = make_plan("s", space(), ledger).pending[0]
    tiled = dataclasses.replace(trial.config, test=Evaluation(unit="tiles"))
    place = Declared("s", "r1", trial.cell.name, "final", 0, tiled.digest())
    about = {"arm": trial.cell.arm, "config": tiled.plain(), "values": {}}
    ledger.studies.declare(place, about)
    finish(ledger, tiled.digest())
    found = outdated(make_plan("s", space(), ledger), ledger)
    assert found == Outdated(0, [], defaulted=1, earlier={("test", "unit"): "tiles"})
    assert '"test": {"unit": "tiles"}' in str(found)
    named = space()
    named = dataclasses.replace(named, config={**named.config, "test": {"unit": "tiles"}})
    plan = make_plan("s", named, ledger)
    assert [t.digest for t in plan.trials if t.state == "done"] == [tiled.digest()]
    assert outdated(plan, ledger) is None


def test_trials_that_validated_with_the_evidence_are_named_with_the_setting_that_finds_them(
    ledger: Ledger,
) -> None:
    """A stored config that lacks the field has its earlier value, which enters no digest."""
    diffusion = dataclasses.replace(space(), arms={"a": {}})
    trial = make_plan("s", diffusion, ledger).pending[0]
    spec = trial.config.plain()
    del spec["mode"]["diffusion"]["validate_evidence"]
    with only_trusted():
        digest = parse(spec).digest()
    assert digest != trial.digest
    place = Declared("s", "r1", trial.cell.name, "final", 0, digest)
    ledger.studies.declare(place, {"arm": trial.cell.arm, "config": spec, "values": {}})
    finish(ledger, digest)
    found = outdated(make_plan("s", diffusion, ledger), ledger)
    setting = ("mode", "diffusion", "validate_evidence")
    assert found == Outdated(0, [], defaulted=1, earlier={setting: True})
    assert '"mode": {"diffusion": {"validate_evidence": true}}' in str(found)
    mode = {"diffusion": {**spec["mode"]["diffusion"], "validate_evidence": True}}
    named = dataclasses.replace(diffusion, config={**diffusion.config, "mode": mode})
    plan = make_plan("s", named, ledger)
    assert [t.digest for t in plan.trials if t.state == "done"] == [digest]
    assert outdated(plan, ledger) is None


def test_a_later_field_at_its_default_is_no_reason_and_a_changed_formula_is_one(
    ledger: Ledger,
) -> None:
    """The stored config lacks a field outside the digest, and the digest differs all the same."""
    trial = make_plan("s", space(), ledger).pending[0]
    spec = trial.config.plain()
    ((name, fields),) = spec["model"].items()
    later = [f.name for f in dataclasses.fields(trial.config.model) if BEFORE in f.metadata]
    assert later, f"{name} has such a field"
    for field in later:
        del fields[field]
    place = Declared("s", "r1", trial.cell.name, "final", 0, "0" * 16)
    ledger.studies.declare(place, {"arm": trial.cell.arm, "config": spec, "values": {}})
    finish(ledger, "0" * 16)
    found = outdated(make_plan("s", space(), ledger), ledger)
    assert found == Outdated(0, [], changed=1)
    assert str(found).startswith("1 trial was committed before the data or a formula changed")
