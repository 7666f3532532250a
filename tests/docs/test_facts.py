"""Defaults, fields, options and numbers that the pages give are those of the program."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import tomllib
from typing import Any, cast

import pytest
import yaml

from cluster import Remote
from cluster.aws import Aws
from cluster.gcp import Gcp
from cluster.kuberay import Kuberay
from cluster.slurm import Slurm
from orchestrator.arguments import parser
from orchestrator.planning import trial_state
from orchestrator.statistics import bootstrap, levels
from orchestrator.sweep import timeouts
from orchestrator.views import sql_sandbox
from search_spaces import Budget, Search, Space
from tests.conftest import ROOT
from tests.docs.fields_page import page
from tests.docs.pages import blocks, pages, read, sections, table_rows
from trainables.augment import Augment
from trainables.field_docs import fields_of as fields_of_configs
from trainables.models import Model, published_parameters
from trainables.modes.diffusion import Diffusion
from trainables.parsing import parse_part
from trainables.part import names, part_class, plain
from trainables.settings import Evaluation, Probe, Train

TEXT = "\n".join(page.read_text(encoding="utf-8") for page in pages())
STUDIES, MODELS, CLUSTERS = (read(f"docs/{p}.md") for p in ("studies", "models", "clusters"))
NOTHING = {"none", "flips only", "what `--store` says", "one without any", "the kind's"}
"""How tables write an empty default, or one of several values."""


HEADINGS = {
    Remote: "Describe your cluster",
    Slurm: "Slurm",
    Kuberay: "Kubernetes",
    Aws: "AWS",
    Gcp: "GCP",
}


def fields_of(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def defaults(text: str, prefix: str = "") -> dict[str, str]:
    """The defaults that tables of three columns (field, meaning, default) give."""
    found: dict[str, str] = {}
    for row in table_rows(text):
        if len(row) == 3:
            fields, values = fields_of(row[0]), [v.strip(" `") for v in row[2].split(",")]
            if len(fields) == len(values):
                found |= dict(zip(fields, values, strict=True))
    return {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}


def written(value: Any) -> str:
    """A default as the pages write it."""
    spec = plain(value)
    if isinstance(spec, dict):
        return str(next(iter(cast("dict[str, Any]", spec))))
    return json.dumps(spec) if isinstance(spec, bool | int) else str(spec)


def test_the_page_of_fields_is_that_of_the_code() -> None:
    """``SEGPRINT_GOLDEN=write`` writes it anew."""
    if os.environ.get("SEGPRINT_GOLDEN") == "write":
        (ROOT / "docs/fields.md").write_text(page(), encoding="utf-8")
    assert read("docs/fields.md") == page()


def test_every_field_of_a_config_has_a_meaning() -> None:
    assert [f"{row.of}.{row.field}" for row in fields_of_configs() if not row.meaning] == []


@pytest.mark.parametrize(
    ("prefix", "kind"), [("train.", Train), ("test.", Evaluation), ("probe.", Probe)]
)
def test_the_defaults_of_a_config_are_those_of_the_code(prefix: str, kind: type[Any]) -> None:
    given = defaults(STUDIES, prefix)
    assert set(given) == {field.name for field in dataclasses.fields(kind)}
    for name, value in given.items():
        if value not in NOTHING:
            assert value == written(getattr(kind(), name)), f"{prefix}{name}"


def test_the_defaults_of_diffusion_are_those_of_the_code() -> None:
    (table,) = (t for t in re.split(r"\n\n", MODELS) if t.startswith("| field of `diffusion`"))
    given = defaults(table)
    assert set(given) == {field.name for field in dataclasses.fields(Diffusion)}
    for name, value in given.items():
        if value not in NOTHING or getattr(Diffusion(), name) is not None:
            assert value == written(getattr(Diffusion(), name)), name


@pytest.mark.parametrize("kind", [Remote, Slurm, Kuberay, Aws, Gcp])
def test_every_field_of_a_cluster_is_explained_with_its_default(kind: type[Remote]) -> None:
    example = Slurm() if kind is Remote else kind()
    for field in dataclasses.fields(kind):
        assert f"`{field.name}`" in CLUSTERS, f"{kind.__name__}.{field.name}"
    given = defaults(dict(sections(CLUSTERS)).get(HEADINGS[kind], ""))
    for name in given.keys() & {f.name for f in dataclasses.fields(kind)}:
        default = getattr(example, name)
        if given[name] not in NOTHING and isinstance(default, int | float | str):
            assert given[name] == written(default).removesuffix(".0"), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("kind", [Space, Search, Budget, Augment])
def test_every_field_of_a_study_is_explained(kind: type[Any]) -> None:
    for field in dataclasses.fields(kind):
        assert re.search(rf"\b{field.name}\b", STUDIES), f"{kind.__name__}.{field.name}"


def test_every_field_of_a_data_set_and_a_model_part_is_explained() -> None:
    for kind, text in (("datasets", read("docs/data.md")), ("schedules", MODELS)):
        for name in names(kind):
            if name in ("synthetic", "patterns"):
                continue
            for field in dataclasses.fields(cast("Any", part_class(kind, name))):
                assert re.search(rf"\b{field.name}\b", text), f"{name}.{field.name}"
    for kind in ("samplers", "encodings", "weights"):
        for name in names(kind):
            for field in dataclasses.fields(cast("Any", part_class(kind, name))):
                assert f"`{field.name}" in MODELS, f"{name}.{field.name}"


def test_the_numbers_of_parameters_are_counted() -> None:
    shown = {
        fields_of(row[0])[0]: int(row[2].replace(",", ""))
        for row in table_rows(dict(sections(MODELS))["Networks"])
        if row[2] != "–"
    }
    networks = {name: cast("Model", parse_part("models", name)) for name in names("models")}
    counted = {name: published_parameters(model) for name, model in networks.items()}
    assert shown == {name: count for name, count in counted.items() if count is not None}


def test_make_demo_runs_the_commands_of_the_quickstart_page() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    ran = [
        line.strip().replace("$(BIN)/", "").replace(" --store $(STORE)", "")
        for line in recipe[1].splitlines()
    ]
    (shown,) = (b for b in blocks(read("docs/quickstart.md")) if b.text.startswith(ran[0]))
    assert shown.commands == ran


def test_every_option_is_shown_on_a_page() -> None:
    (verbs,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))  # pyright: ignore
    for verb, options in verbs.choices.items():
        for action in options._actions:
            texts = [o for o in action.option_strings if o not in ("-h", "--help")]
            if texts:
                assert any(re.search(rf"(?<![\w-]){o}\b", TEXT) for o in texts), f"{verb} {texts}"


def test_every_environment_variable_is_explained() -> None:
    packages = ("orchestrator", "trainables", "search_spaces", "cluster")
    sources = [p.read_text(encoding="utf-8") for k in packages for p in (ROOT / k).rglob("*.py")]
    used = {name for source in sources for name in re.findall(r"SEGPRINT_[A-Z_]*[A-Z]", source)}
    table = dict(sections(read("docs/operations.md")))["Environment variables"]
    assert used == set(re.findall(r"`(SEGPRINT_\w+)`", table))


def test_the_limits_in_sentences_are_those_of_the_code() -> None:
    operations, statistics = read("docs/operations.md"), read("docs/statistics.md")
    assert f"after {timeouts.SILENCE_SECONDS / 60:g} minutes without a sign of life" in operations
    assert f"after {timeouts.WAIT_SECONDS / 60:g} minutes in which no trial" in operations
    assert f"retries for {timeouts.STORE_SECONDS / 60:g} minutes" in operations
    assert trial_state.MOST_FAILURES == 3
    assert "after three failures it is given up" in operations
    assert f"older than {trial_state.LEASE_SECONDS:g} seconds" in read("docs/glossary.md")
    assert f"{sql_sandbox.QUERY_SECONDS:g} seconds" in read("docs/results.md")
    assert f"{bootstrap.RESAMPLES:,} resamples" in statistics
    assert f"All intervals are {levels.CONFIDENCE:.0%}".replace("%", " %") in statistics
    assert bootstrap.FEWEST == 6
    assert "six or more" in statistics


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert "2403.14440" in citation["references"][0]["url"]
