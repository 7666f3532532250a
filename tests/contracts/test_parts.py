"""What every choice of every kind owes."""

from __future__ import annotations

import dataclasses
import json
from typing import cast

import pytest

from trainables import part
from trainables.parsing import parse_part
from trainables.part import KINDS, Part, names, part_class, plain, summary

ALL = [(kind, name) for kind in KINDS for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_is_a_frozen_dataclass_named_by_its_file(kind: str, name: str) -> None:
    made = parse_part(kind, name)
    assert made.name == name
    assert made.kind == kind
    assert cast("type", type(made)).__dataclass_params__.frozen  # pyright: ignore


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_plain_form_is_json_and_parses_back_to_an_equal_part(kind: str, name: str) -> None:
    made = parse_part(kind, name)
    assert parse_part(kind, json.loads(json.dumps(plain(made)))) == made


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_says_what_it_is_in_one_line(kind: str, name: str) -> None:
    assert summary(kind, name).endswith(".")
    assert part_class(kind, name).__doc__


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_refuses_an_unknown_field_and_names_the_choices(kind: str, name: str) -> None:
    with pytest.raises(ValueError, match="unknown .* field 'nonsense'.*choices"):
        parse_part(kind, {name: {"nonsense": 1}})


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_refuses_nan_and_text_in_its_numbers(kind: str, name: str) -> None:
    made = parse_part(kind, name)
    for field in dataclasses.fields(made):  # pyright: ignore
        if isinstance(getattr(made, field.name), float):
            with pytest.raises(ValueError, match=field.name):
                parse_part(kind, {name: {field.name: float("nan")}})
            with pytest.raises(ValueError, match=field.name):
                parse_part(kind, {name: {field.name: "much"}})


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        parse_part("schedules", "cosin")


def test_two_parts_in_one_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import trainables.schedules.linear as module

    class Second(Part):
        kind = "schedules"

    Second.__module__ = module.__name__
    monkeypatch.setattr(module, "Second", Second, raising=False)
    part.part_class.cache_clear()
    with pytest.raises(ValueError, match="exactly one Part"):
        part_class("schedules", "linear")
    part.part_class.cache_clear()
