"""Kept networks that are tested on other data, probed again and read again, without training."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import orchestrator
import search_spaces
from orchestrator.analyses import open_store
from orchestrator.commands.sweep import exit_code
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.sink import LedgerSink
from orchestrator.ledger.weights import weights_key
from orchestrator.planning.plan import make_plan
from orchestrator.storage.object_store import Store
from orchestrator.tables.snapshot import Snapshot
from search_spaces import Space
from tests.conftest import SMALL_UNET, Segprint
from tests.docs.training import trained
from tests.golden.test_stores import STORES
from trainables.config import Config, parse
from trainables.data import prepared
from trainables.datasets import Dataset
from trainables.decoding.cache import load
from trainables.parsing import parse_part
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import SCHEMA_VERSION, SCHEMAS
from trainables.settings import Probe
from trainables.training import step
from trainables.training.attempt import attempt, outcome_of

Small = Callable[..., Config]
DIFFUSION = {"diffusion": {"sampler": {"ddim": {"steps": 2}}}}
TINY = Space(
    question="?",
    config={
        "task": {"synthetic": {"size": 16, "cases": 4}},
        "model": SMALL_UNET,
        "train": {"steps": 4, "batch": 4, "validate_every": 2},
        "probe": {"bins": 4, "draws": 1},
    },
    arms={"twin": {"mode": "feedforward"}, "linear": {"mode": DIFFUSION}},
)
OTHER = '{"synthetic": {"cases": 3, "noise": 0.3}}'
UNTIMED = ("seconds", "attempt", "digest")


@pytest.fixture
def store(tmp_path: Path) -> Ledger:
    """The store of the command line, with the trained study ``tiny``."""
    ledger = Ledger(Store(str(tmp_path / "results")))
    assert trained("tiny", TINY, ledger).complete
    return ledger


@pytest.fixture
def steps(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The training steps since the study was trained."""
    made: list[int] = []
    original = step.step

    def counted(state: Any, learner: Any, batch: Any) -> Any:
        made.append(state.step)
        return original(state, learner, batch)

    monkeypatch.setattr(step, "step", counted)
    return made


def _sized(text: str, **changes: Any) -> dict[str, Any]:
    """A data set as it is read with tiles of 16 pixels."""
    ((name, fields),) = json.loads(text).items()
    return {name: {"size": 16, **fields, **changes}}


def refused(inline: Segprint, *arguments: str) -> str:
    """The one line with which a command is refused."""
    ended = inline(*arguments)
    assert ended.returncode == 2, ended.stdout
    (line,) = ended.stderr.splitlines()
    return line


def derived(inline: Segprint, ledger: Ledger, *arguments: str) -> str:
    """The name of the study of a verb, after its space is written and its trials are run."""
    file = Path("derived.py")
    file.unlink(missing_ok=True)
    written = inline(*arguments, "-o", str(file), "--json")
    assert written.returncode == 0, written.stderr
    study, space = search_spaces.load(str(file))
    assert json.loads(written.stdout)["study"] == study
    assert trained(study, space, ledger).complete
    return study


def trials(study: str) -> dict[str, dict[str, Any]]:
    """The trials of a study in ``results``, by arm."""
    rows = open_store("results").sql(
        f"SELECT s.arm, t.* FROM studies s JOIN trials t USING (digest) WHERE s.study = '{study}'"
    )
    return {row["arm"]: row for row in rows.to_pylist()}


def rows(ledger: Ledger, digest: str) -> dict[str, list[dict[str, Any]]]:
    """The committed rows of a trial, without times and keys."""
    return {
        name: [
            {k: v for k, v in row.items() if k not in UNTIMED}
            for row in Snapshot(ledger.store).table(name, [digest]).to_pylist()
        ]
        for name in SCHEMAS
        if name != "trials"
    }


def test_an_external_test_is_a_reading_of_the_same_training(small: Small) -> None:
    own, external = small(), small(test={"on": _sized(OTHER)})
    assert external.training_digests == own.training_digests
    seen = {
        small(test={"on": _sized(OTHER, noise=noise), "cases": cases}).digest()
        for noise in (0.3, 0.4)
        for cases in ("all", "test")
    }
    assert len(seen | {own.digest()}) == 5
    data = prepared(external)
    assert [c.name for c in data.train] == [c.name for c in prepared(own).train]
    assert [c.name for c in data.val] == [c.name for c in prepared(own).val]
    first = load(external.tested).images[0]
    trained_on = load(own.task)
    expected = (first.pixels - trained_on.mean[:, None, None]) / trained_on.std[:, None, None]
    assert np.allclose(data.test[0].image.numpy(), expected, atol=1e-5)


def test_every_case_of_an_external_set_is_predicted_as_the_loaded_network_does(
    store: Ledger, steps: list[int], inline: Segprint
) -> None:
    assert (
        derived(inline, store, "evaluate", "tiny/twin", "--on", OTHER) == "tiny_twin_on_synthetic"
    )
    assert steps == []
    (row,) = trials("tiny_twin_on_synthetic").values()
    assert row["weights"] == trials("tiny")["twin"]["weights"]
    assert row["device_seconds"] == pytest.approx(row["reading_seconds"])
    found = [c for c in rows(store, row["digest"])["cases"] if c["split"] == "test"]
    other = parse_part("datasets", _sized(OTHER))
    assert isinstance(other, Dataset)
    images = load(other).images
    assert len(images) == 9
    model = orchestrator.load("tiny/twin")
    for image in images:
        labels = model.predict([np.array(image.pixels)])[0].labels
        (case,) = [c for c in found if c["case"] == image.name and c["reading"] == "sample"]
        truth = image.labels
        assert case["tp"] == int(((labels == 1) & (truth == 1)).sum())
        assert case["fp"] == int(((labels == 1) & (truth == 0)).sum())
    only = derived(inline, store, "evaluate", "tiny/twin", "--on", OTHER, "--cases", "test")
    assert trials(only)["twin"]["test_images"] == 3


def test_an_external_test_is_paired_with_an_arm_that_was_trained_on_the_other_data(
    store: Ledger, inline: Segprint
) -> None:
    own = dataclasses.replace(TINY, config={**TINY.config, "task": _sized(OTHER)})
    assert trained("native", own, store).complete
    study = derived(inline, store, "evaluate", "tiny", "--on", OTHER)
    compared = inline("compare", f"{study}/twin", "native/twin", "--json")
    assert compared.returncode == 0, compared.stderr
    pairs = json.loads(compared.stdout)
    dice = next(row for row in pairs if row["metric"] == "dice")
    assert dice["images"] == 3  # the test split, which both have
    board = inline("query", "SELECT * FROM leaderboard", "--json")
    by_study = {(r["study"], r["arm"]): r for r in json.loads(board.stdout)}
    assert by_study[study, "twin"]["task"] == by_study["native", "twin"]["task"]
    assert by_study[study, "twin"]["images"] == 9
    assert by_study["native", "twin"]["trained_on"] == by_study["native", "twin"]["task"]
    assert by_study[study, "twin"]["trained_on"] not in ("", by_study[study, "twin"]["task"])
    twins = json.loads(inline("query", "SELECT * FROM twins", "--json").stdout)
    assert {row["study"] for row in twins} == {"tiny", "native", study}


def test_what_cannot_be_tested_says_why_before_anything_starts(
    store: Ledger, inline: Segprint, tmp_path: Path
) -> None:
    def line(on: str, what: str = "tiny") -> str:
        return refused(inline, "evaluate", what, "--on", on)

    assert "classes=['background', 'nucleus'], the network is trained on" in line("nuclei")
    assert "channels=3, the network is trained on synthetic with channels=1" in line("isic16")
    assert "size=32, the network is trained on synthetic with size=16" in line(
        '{"synthetic": {"size": 32}}'
    )
    assert "synthetic shares 8 images with the training and validation images of synthetic" in line(
        '{"synthetic": {"cases": 4}}'
    )
    assert "unknown dataset 'moon'" in line("moon")
    assert "no valid JSON" in line("{synthetic")
    assert "must be one data set" in line('{"synthetic": 3}')
    assert "must be STUDY, STUDY/ARM or STUDY/CELL" in line(OTHER, "nothing")
    assert "unknown arm of tiny 'twi'; did you mean 'twin'?" in line(OTHER, "tiny/twi")
    assert refused(inline, "probe", "tiny").endswith("e.g. --set bins=64 --set draws=4")
    assert "no diffusion trial" in refused(inline, "probe", "tiny/twin", "--set", "bins=8")
    assert "bin" in refused(inline, "probe", "tiny", "--set", "bin=8")
    assert store.studies.names() == ["tiny"]


def test_networks_that_are_gone_are_named_and_trained_again_only_if_that_is_wanted(
    store: Ledger, steps: list[int], inline: Segprint
) -> None:
    (training,) = trials("tiny")["linear"]["trainings"]
    store.weights.delete(training)
    line = refused(inline, "evaluate", "tiny", "--on", OTHER)
    assert "no weights for 1 of 2 trials (linear seed 0)" in line
    assert "--train" in line
    derived(inline, store, "evaluate", "tiny/twin", "--on", OTHER)
    assert steps == []
    derived(inline, store, "evaluate", "tiny", "--on", OTHER, "--train")
    assert len(steps) == 4
    assert store.weights.has(training)


def test_tampered_weights_are_never_trained_again_by_a_study_that_only_reads(
    store: Ledger, steps: list[int], inline: Segprint
) -> None:
    row = trials("tiny")["twin"]
    key = weights_key(row["trainings"][0], row["weights"][0])
    tensors = store.store.get(key)
    store.store.put(key, tensors[:-1] + bytes([tensors[-1] ^ 1]))
    config = dataclasses.replace(parse(json.loads(row["config"])), probe=Probe(bins=0))
    sink = LedgerSink(store, "code", trains=False)
    assert outcome_of(attempt(config, sink, WorkerContext())) == "failed"
    assert steps == []
    (reason,) = Snapshot(store.store).table("trials", [config.digest()])["reason"].to_pylist()
    assert row["weights"][0][:16] in reason
    assert "damaged" in reason


def test_a_read_only_space_leaves_out_trials_without_weights(
    store: Ledger, inline: Segprint
) -> None:
    assert inline("evaluate", "tiny", "--on", OTHER, "-o", "later.py").returncode == 0
    store.weights.delete(trials("tiny")["linear"]["trainings"][0])
    planned = json.loads(inline("plan", "later.py", "--json").stdout)
    assert {cell["cell"]: cell["to_run"] for cell in planned["cells"]} == {"twin": 1, "linear": 0}
    said = inline("plan", "later.py").stdout
    assert "1 trial left out, whose weights the store does not keep" in said
    store.weights.delete(trials("tiny")["twin"]["trainings"][0])
    assert exit_code(make_plan(*search_spaces.load("later.py"), store)) == 1


def test_a_probe_read_later_equals_the_probe_of_the_first_study(
    store: Ledger, steps: list[int], inline: Segprint, tmp_path: Path
) -> None:
    settings = {"bins": 6, "draws": 2, "controls": ["random_mask"], "t_low": 0.25, "t_high": 0.75}
    given = [f"--set={name}={json.dumps(value)}" for name, value in settings.items()]
    study = derived(inline, store, "probe", "tiny", *given)
    assert steps == []
    assert set(trials(study)) == {"linear"}
    digest = trials(study)["linear"]["digest"]
    apart = Ledger(Store(str(tmp_path / "apart")))
    arms = {"linear": TINY.arms["linear"]}
    first = dataclasses.replace(TINY, config={**TINY.config, "probe": settings}, arms=arms)
    (trial,) = trained("first", first, apart).trials
    assert len(steps) == 4
    assert trial.digest == digest
    assert rows(store, digest) == rows(apart, digest)
    probes = rows(store, digest)["probes"]
    times = [(p["low"], p["high"]) for p in probes if p["axis"] == "t"]
    assert min(low for low, _ in times) == 0.25
    assert max(high for _, high in times) == 0.75
    assert {p["bin"] for p in probes} == set(range(6))


@pytest.mark.slow
def test_rows_of_an_earlier_schema_are_measured_again_from_their_weights(
    tmp_path: Path, inline: Segprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(STORES / "schema7" / "store.tar.xz") as archive:
        archive.extractall(tmp_path / "results", filter="data")
    ledger = Ledger(Store(str(tmp_path / "results")))
    before = trials("kept")
    monkeypatch.setattr(step, "step", lambda *_: pytest.fail("a step was trained"))
    study = derived(inline, ledger, "read", "kept")
    after = trials(study)
    assert set(after) == {arm for arm, row in before.items() if row["outcome"] == "finished"}
    for arm, row in after.items():
        assert before[arm]["trained_on"] is None
        assert row["trained_on"] == "synthetic"
        old, new = (rows(ledger, r["digest"])["cases"] for r in (before[arm], row))
        assert [r["tp"] for r in new] == [r["tp"] for r in old], arm
        assert json.loads(row["config"])["test"]["schema"] == SCHEMA_VERSION
    again = inline("read", study)
    assert again.returncode == 0
    assert "all rows have the columns and the formulas of this version" in again.stdout


def test_rows_of_a_changed_formula_are_read_under_the_digest_that_a_sweep_would_give(
    store: Ledger, steps: list[int], inline: Segprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.samplers.ddpm import DDPM

    ddpm = {"mode": {"diffusion": {"sampler": {"ddpm": {"steps": 2}}}}}
    space = dataclasses.replace(TINY, arms={"ddpm": ddpm})
    assert trained("sampled", space, store).complete
    assert steps == []
    monkeypatch.setattr(DDPM, "version", 99)
    study = derived(inline, store, "read", "sampled")
    assert steps == []
    assert trials(study)["ddpm"]["digest"] != trials("sampled")["ddpm"]["digest"]
    assert trained("sampled", space, store).complete
    assert trials(study)["ddpm"]["digest"] == trials("sampled")["ddpm"]["digest"]


def test_a_users_file_and_a_folder_are_external_sets(
    store: Ledger, inline: Segprint, segprint: Segprint, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from trainables.datasets.synthetic import Synthetic\n"
        "@dataclass(frozen=True)\nclass Mine(Synthetic):\n    noise: float = 0.25\n"
    )
    assert derived(inline, store, "evaluate", "tiny/twin", "--on", "mine.py") == "tiny_twin_on_mine"
    # A later command reads rows whose config names the file, so the user has to name it as well.
    line = refused(segprint, "read", "tiny_twin_on_mine")
    assert "--trust" in line
    assert inline("read", "tiny_twin_on_mine", "--trust", "mine.py").returncode == 0
    draws = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "grey" / kind).mkdir(parents=True)
    for i in range(5):
        mask = np.zeros((20, 20), np.uint8)
        mask[4:12, 4:12] = 255
        noisy = (draws.random((20, 20)) * 80 + mask / 2).astype(np.uint8)
        PIL.Image.fromarray(noisy).save(tmp_path / "grey" / "images" / f"{i}.png")
        PIL.Image.fromarray(mask).save(tmp_path / "grey" / "masks" / f"{i}.png")
    grey = dataclasses.replace(
        TINY,
        config={
            **TINY.config,
            "task": {
                "folder": {
                    "at": str(tmp_path / "grey"),
                    "size": 16,
                    "colour": False,
                    "foreground": ["cell"],
                }
            },
        },
    )
    assert trained("grey", grey, store).complete
    shutil.copytree(tmp_path / "grey", tmp_path / "copy")
    line = refused(inline, "evaluate", "grey", "--on", "copy")
    assert "images with the training and validation images of grey" in line
    shutil.copytree(tmp_path / "grey", tmp_path / "clinic")
    for file in (tmp_path / "clinic" / "images").iterdir():
        with PIL.Image.open(file) as image:
            PIL.Image.fromarray(np.asarray(image)[::-1].copy()).save(file)
    study = derived(inline, store, "evaluate", "grey", "--on", "clinic")
    assert study == "grey_on_clinic"
    assert trials(study)["twin"]["task"] == "clinic"
    assert trials(study)["twin"]["trained_on"] == "grey"
    assert trials(study)["twin"]["test_images"] == 5
