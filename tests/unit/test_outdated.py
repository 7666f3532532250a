"""Trials that an older version committed: said to be trained anew, with the fields that are new."""

from __future__ import annotations

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.studies import Declared
from orchestrator.planning.plan import make_plan
from orchestrator.planning.stale_configs import Outdated, outdated
from tests.unit.test_plan import finish, space


def test_what_was_committed_before_a_field_existed_is_said_to_be_trained_anew(
    ledger: Ledger,
) -> None:
    def found() -> Outdated | None:
        return outdated(make_plan("s", space(), ledger), ledger)

    first, second = make_plan("s", space(), ledger).pending
    young = second.config.plain()
    old = first.config.plain()
    del old["train"]["fraction"]
    for revision, digest, spec in (("r1", "0" * 16, old), ("r2", "1" * 16, young)):
        place = Declared("s", revision, first.cell.name, "final", 0, digest)
        ledger.studies.declare(place, {"arm": first.cell.arm, "config": spec, "values": {}})
    assert found() is None  # nothing is committed
    finish(ledger, "1" * 16)
    assert found() is None  # it says everything
    finish(ledger, "0" * 16)
    assert found() == Outdated(1, ["train.fraction"])
    assert "before train.fraction existed" in str(found())
