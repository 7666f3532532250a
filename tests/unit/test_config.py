from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SMALL
from trainables.config import Config, parse
from trainables.decoding.cache import load
from trainables.diffusion_settings import VALIDATION
from trainables.modes.diffusion import Diffusion
from trainables.part import identity, parts_in, plain
from trainables.settings import Train
from trainables.trusted_files import only_trusted


def test_digest_does_not_depend_on_how_defaults_are_written(small: Callable[..., Config]) -> None:
    written_out = parse(small().plain())
    assert written_out == small()
    assert written_out.digest() == small().digest()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"train": {**SMALL["train"], "learning_rate": 1.1e-3}},  # type: ignore[dict-item]
        {"mode": {"diffusion": {"schedule": {"cosine": {"shift": 1e-9}}}}},
        {"task": {"synthetic": {"size": 16, "cases": 4, "noise": 0.6}}},
    ],
)
def test_digest_changes_with_every_number(
    small: Callable[..., Config], change: dict[str, Any]
) -> None:
    assert small(**change).digest() != small().digest()


def test_both_zeros_are_one_digest(small: Callable[..., Config]) -> None:
    def decayed(value: float) -> Config:
        return small(train={**SMALL["train"], "weight_decay": value})  # type: ignore[dict-item]

    positive, negative = decayed(0.0), decayed(-0.0)
    assert negative.digest() == positive.digest()
    assert str(negative.train.weight_decay) == "0.0"


def test_digest_is_a_hash_of_the_whole_as_canonical_json(small: Callable[..., Config]) -> None:
    """Equal numbers of different types are different, also in configs made together."""
    shifts = (0.0, -1e-9, 1e-9)
    configs = [small(mode={"diffusion": {"schedule": {"cosine": {"shift": s}}}}) for s in shifts]
    configs += [small(mode="feedforward", seed=7), replace(small(), seed=True), small(seed=1)]
    for config in configs:
        whole = {
            "config": identity(config),
            "data": load(config.task).content_hash,
            "version": config.version,
            "versions": {f"{p.kind}/{p.name}": p.version for p in parts_in(config)},
        }
        canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
        assert config.digest() == hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert len({config.digest() for config in configs}) == len(configs)


def test_digest_changes_with_a_formula_version(
    small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small().digest()
    monkeypatch.setattr(type(small().model), "version", 2)
    assert small().digest() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mdoel": 1}, r"unknown config field 'mdoel'; did you mean 'model'\?"),
        ({"task": "nucleii"}, r"unknown config.task 'nucleii'; did you mean 'nuclei'\?"),
        ({"task": {"synthetic": {"size": 15}}}, "size=15 must be a multiple of 2, the stride"),
        ({"mode": {"diffusion": {"t_low": 0.9, "t_high": 0.1}}}, "0 <= t_low < t_high <= 1"),
        ({"mode": {"diffusion": {"encoding": {"onehot": {"scale": -1.0}}}}}, "scale=-1.0 must be"),
        ({"mode": {"diffusion": {"start": "auxiliary"}}}, "auxiliary output, ensemdiff has none"),
        (
            {"mode": {"diffusion": {"sampler": {"ddpm": {"variance": "learned"}}}}},
            "loss='cross_entropy' must be 'hybrid'",
        ),
        ({"train": {"control": "random_mask"}}, "needs evidence=false"),
        (
            {"train": {"control": "shuffled_mask"}, "mode": "feedforward"},
            "needs a mode that sees a noisy mask, mode feedforward does not",
        ),
        (
            {
                "train": {"control": "random_mask"},
                "mode": {"diffusion": {"evidence": False}},
                "test": {"controls": ["temperature", "dropped_image"]},
            },
            r"test.controls=\['dropped_image'\] must be empty with train.control='random_mask'",
        ),
        ({"train": {"batch": 4, "accumulate": 3}}, "accumulate=3 must divide batch=4"),
        ({"mode": {"diffusion": {"image_dropout": 0.0}}}, "bins=4 must be 0 with image_dropout=0"),
        ({"model": "intensity", "train": {"steps": 0}}, "sees no noisy mask: mode diffusion must"),
        ({"train": {"precision": "float16"}}, "unknown config.train.precision 'float16'"),
        ({"test": {"overlap": 1.0}}, r"overlap=1.0 must lie in \[0, 1\)"),
        ({"test": {"controls": ["temperature"] * 2}}, "must name each control once"),
        ({"probe": {"controls": ["random_mask"] * 2}}, "must name each control once"),
        ({"probe": {"controls": ["shufled_image"]}}, "did you mean 'shuffled_image'"),
        ({"mode": {"diffusion": {"target": "eps"}}}, "target='eps' must be 'x0'"),
        ({"train": {"steps": -1}}, "steps=-1 must not be negative"),
        ({"train": {"steps": "many"}}, "config.train.steps: 'many' must be int"),
        ({"train": {"steps": True}}, "config.train.steps: True must be int"),
        ({"train": {"learning_rate": float("inf")}}, "inf must be a finite number"),
        ({"model": "intensity"}, "train.steps=6 must be 0: model intensity has no gradient"),
        ({"model": ["a"]}, "must be a name or"),
    ],
)
def test_bad_values_are_named_with_their_rule(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse({**SMALL, **change})


def test_missing_fields_are_named() -> None:
    with pytest.raises(ValueError, match="no value for task, model, mode"):
        parse({})


@given(steps=st.integers(2, 500), warmup=st.integers(0, 50))
def test_learning_rate_rises_then_falls_and_never_exceeds_its_peak(steps: int, warmup: int) -> None:
    train = Train(steps=steps, warmup=warmup, decay="linear", learning_rate=0.1)
    rates = [train.rate(step) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) <= 0.1
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_only_names_by_number_become_a_mapping() -> None:
    """Another tuple of pairs stays a list, in which a first item may occur twice."""
    assert plain(((0, "background"), (255, "ignore"))) == {"0": "background", "255": "ignore"}
    assert plain(((1, 2), (1, 3))) == [[1, 2], [1, 3]]
    assert plain((("a", "b"), ("a", "c"))) == [["a", "b"], ["a", "c"]]


def test_a_stored_config_without_a_field_has_the_value_from_before_the_field() -> None:
    """A default may change: what is stored means what it meant when it was stored."""
    spec = {**SMALL, "mode": "diffusion"}
    new = parse(spec)
    with only_trusted():
        old = parse(spec)
    for field in ("sample_evidence", "validate_evidence"):
        assert not getattr(new.mode, field)
        assert getattr(old.mode, field)
        assert field not in identity(old.mode)["diffusion"]
    assert parse(plain(new)).digest() == new.digest() != old.digest() == parse(plain(old)).digest()


def test_validation_has_a_reading_of_its_own_whichever_the_test_has() -> None:
    """So that tests with and without the evidence read the weights of one training."""
    configs = [
        [
            parse({**SMALL, "mode": {"diffusion": {"sample_evidence": test, **validation}}})
            for test in (True, False)
        ]
        for validation in ({"validate_evidence": True}, {})
    ]
    (((with_evidence,), same), ((without,), too)) = [[c.trainings for c in two] for two in configs]
    assert same == (with_evidence,)
    assert too == (without,)
    assert cast("Diffusion", with_evidence.mode).sample_evidence
    assert not cast("Diffusion", without.mode).sample_evidence
    assert without.mode == Diffusion(sampler=VALIDATION), "by default it is that of the test"


@pytest.mark.parametrize("fields", [{"evidence": False}, {"loss": "mse"}])
def test_a_field_without_effect_does_not_change_the_identity(fields: dict[str, Any]) -> None:
    configs = [
        parse({**SMALL, "mode": {"diffusion": {**fields, "sample_evidence": value}}})
        for value in (True, False)
    ]
    assert configs[0].digest() == configs[1].digest()
