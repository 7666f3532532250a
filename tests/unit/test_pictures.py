"""Pictures of test cases: pixels against what they are of, and their way through the store."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.tables import compaction, compaction_log
from orchestrator.tables.integrity import Check
from orchestrator.tables.snapshot import Snapshot
from orchestrator.views.export import export_tables
from tests.conftest import Segprint
from tests.unit.test_compaction import commit
from trainables.config import Config
from trainables.data import Case, Prepared, prepare
from trainables.evaluation import pictures, predict, probe
from trainables.models import Network
from trainables.modes.diffusion import Diffusion
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.training.state import State

Small = Callable[..., Config]
Shown = dict[tuple[str, str, float | None], NDArray[np.uint8]]


def untrained(config: Config) -> tuple[Prepared, Network]:
    data = prepare(config.task, config.test.unit)
    return data, State(Run(config, WorkerContext(), data)).best


def opened(png: bytes) -> NDArray[np.uint8]:
    with PIL.Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def shown(
    config: Config, network: Network, data: Prepared, context: WorkerContext | None = None
) -> Shown:
    found: Shown = {}
    run = Run(config, context or WorkerContext(), data)
    for row in pictures.measure(run, network).pictures:
        pixels = opened(row["png"])
        assert pixels.shape[:2] == (row["height"], row["width"])
        assert max(pixels.shape[:2]) <= pictures.LONGEST
        found[row["case"], row["kind"], row.get("log_snr")] = pixels
    return found


def test_pictures_show_the_mask_and_what_the_members_say_of_it(small: Small) -> None:
    config = small(mode={"diffusion": {"members": 3, "sampler": {"ddim": {"steps": 2}}}})
    data, network = untrained(config)
    found = shown(config, network, data)
    for case in data.test[:2]:
        ((_, p),) = predict.predictions(Run(config, WorkerContext(), data), network, [case], [0])
        members = p.members[0, :, 0].double().numpy()
        np.testing.assert_array_equal(found[case.name, "truth", None], 255 * case.labels.numpy())
        mean, deviation = members.mean(0), members.std(0)
        probability = found[case.name, "probability", None].astype(float)
        np.testing.assert_allclose(probability, 255 * mean, atol=0.51)
        uncertainty = found[case.name, "uncertainty", None].astype(float)
        np.testing.assert_allclose(uncertainty, 510 * deviation, atol=0.51)
    assert {name for name, _, _ in found} == {c.name for c in data.test[:2]}


def test_a_lone_members_uncertainty_is_that_of_its_probability(small: Small) -> None:
    config = small(mode="feedforward")
    data, network = untrained(config)
    found = shown(config, network, data)
    p = found[data.test[0].name, "probability", None] / 255
    uncertainty = found[data.test[0].name, "uncertainty", None] / 255
    np.testing.assert_allclose(uncertainty, 2 * np.sqrt(p * (1 - p)), atol=0.01)
    assert {kind for _, kind, _ in found} == {"image", "truth", "probability", "uncertainty"}


def test_a_strip_goes_from_the_mask_to_noise_in_even_steps_of_log_snr(small: Small) -> None:
    config = small()
    assert isinstance(config.mode, Diffusion)
    data, network = untrained(config)
    found = shown(config, network, data)
    first = data.test[0]
    levels = [level for name, kind, level in found if (name, kind) == (first.name, "noisy")]
    edges = probe.strata(config.mode, "log_snr", 5).flip(0)
    np.testing.assert_allclose(np.array(levels, float), edges.numpy(), atol=1e-6)
    truth = found[first.name, "truth", None]
    for kind in ("noisy", "denoised", "blind"):
        clean, noise = (found[first.name, kind, levels[k]] for k in (0, -1))
        assert np.abs(clean.astype(int) - truth).max() <= 12  # at λ = 9 noise is 1 % of the mask
        assert np.abs(noise.astype(int) - truth).mean() > 60
    assert found[first.name, "noisy", levels[-1]].std() > 80


def test_a_network_that_always_saw_its_image_has_no_blind_strip(small: Small) -> None:
    config = small(mode={"diffusion": {"image_dropout": 0.0}}, probe={"bins": 0})
    data, network = untrained(config)
    kinds = {kind for _, kind, _ in shown(config, network, data)}
    assert kinds >= {"noisy", "denoised"}
    assert "blind" not in kinds


def test_bytes_do_not_depend_on_who_makes_them(small: Small) -> None:
    config = small(test={"pictures": 3})
    data, network = untrained(config)
    alone = pictures.measure(Run(config, WorkerContext(), data), network).pictures
    shared = [
        pictures.measure(Run(config, WorkerContext(r, 2), data), network).pictures for r in (0, 1)
    ]

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda r: (r["case"], r["kind"], r.get("log_snr", 0.0)))

    assert ordered(shared[0] + shared[1]) == ordered(alone)
    assert {row["case"] for row in alone} == {case.name for case in data.test[:3]}


def test_no_pictures_leave_no_pixels_and_the_same_numbers(small: Small) -> None:
    config = small(test={"pictures": 0})
    data, network = untrained(config)
    assert pictures.measure(Run(config, WorkerContext(), data), network).pictures == []
    assert config.digest() != small().digest()
    with pytest.raises(ValueError, match="pictures=-1 must not be negative"):
        small(test={"pictures": -1})


@pytest.mark.parametrize("classes", [2, 3, 300])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 1, 1), (2, 5, 700), (5, 300, 40)])
def test_any_image_and_any_number_of_classes_keep_the_bounds(
    classes: int, channels: int, height: int, width: int
) -> None:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(4096, (channels, height, width), generator=draws).to(torch.uint16)
    labels = torch.randint(classes, (height, width), generator=draws).to(torch.uint8)
    case = Case("case", "group", pixels, labels, None)
    p = torch.rand(2, 1 if classes == 2 else classes, height, width, generator=draws)
    rows = {row["kind"]: opened(row["png"]) for row in pictures._prediction(case, p, classes)}
    assert len({image.shape[:2] for image in rows.values()}) == 1
    assert rows["image"].shape[2:] == ((3,) if channels >= 3 else ())
    assert max(rows["truth"].shape) <= pictures.LONGEST
    if max(height, width) <= pictures.LONGEST:
        grey = (255 * labels.double() / (classes - 1)).round().numpy()
        np.testing.assert_array_equal(rows["truth"], grey)


def test_an_image_larger_than_a_patch_shows_the_noise_where_most_foreground_is(
    small: Small,
) -> None:
    config = small(test={"unit": "images"})
    data, network = untrained(config)
    labels = torch.zeros(40, 40, dtype=torch.uint8)
    labels[20:30, 3:12] = 1
    case = Case("image", "group", torch.rand(1, 40, 40), labels, None)
    found = shown(config, network, dataclasses.replace(data, test=[case]))
    assert found["image", "truth", None].shape == (40, 40)
    clean = max(level for _, kind, level in found if kind == "noisy" and level is not None)
    inner = found["image", "noisy", clean]
    np.testing.assert_allclose(inner.astype(int), 255 * labels[16:32, 0:16].numpy(), atol=12)


def test_pictures_go_through_every_table_operation(
    ledger: Ledger, tmp_path: Path, inline: Segprint
) -> None:
    """Recent, compacted, merged, made anew, exported: the same bytes."""
    pngs = {f"d{i}": bytes([137, 80, 78, 71, 0, i, 255]) * (i + 1) for i in range(3)}

    def read() -> dict[str, bytes]:
        table = Snapshot(ledger.store).table("pictures")
        return dict(zip(table["digest"].to_pylist(), table["png"].to_pylist(), strict=True))

    for digest, png in pngs.items():
        trial = {"outcome": "finished", "task": "t", "model": "m"}
        row = {"case": "c", "kind": "image", "width": 1, "height": 1, "png": png}
        ledger.commit(digest, "finished", {"trials": [trial], "pictures": [row]})
        assert compaction.compact_committed(ledger.store) == 1
    assert read() == pngs
    assert compaction.merge_small_files(ledger.store)["pictures"] == (3, 1)
    assert read() == pngs
    assert compaction.rebuild(ledger.store) == 3
    assert read() == pngs
    assert list(Check(ledger.store).run()) == []
    export_tables(catalog(ledger), str(tmp_path / "tree"))
    assert set(pq.read_table(tmp_path / "tree" / "pictures")["png"].to_pylist()) == {*pngs.values()}

    sql = 'SELECT "case", kind, octet_length(png) AS bytes, png FROM pictures ORDER BY digest'
    done = inline("--store", ledger.store.url, "query", sql, "--format", "json")
    assert [row["png"] for row in json.loads(done.stdout)] == [
        "<7 bytes>",
        "<14 bytes>",
        "<21 bytes>",
    ]
    done = inline("--store", ledger.store.url, "query", sql, "--format", "csv")
    assert done.stdout.splitlines()[1] == '"c","image",7,"<7 bytes>"'
    done = inline("--store", ledger.store.url, "query", sql, "-o", str(tmp_path / "all.parquet"))
    assert pq.read_table(tmp_path / "all.parquet")["png"].to_pylist() == [*pngs.values()]


def test_a_store_from_before_there_were_pictures_is_whole(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        compaction, "TABLES", tuple(n for n in compaction_log.TABLES if n != "pictures")
    )
    commit(ledger, "d1")
    compaction.compact_committed(ledger.store)
    monkeypatch.undo()
    snapshot = Snapshot(ledger.store)
    assert snapshot.table("pictures").num_rows == 0
    assert snapshot.problems == []
    assert list(Check(ledger.store).run()) == []
    row = {"case": "c", "kind": "image", "png": b"png"}
    ledger.commit("d2", "finished", {"trials": [{"outcome": "finished"}], "pictures": [row]})
    compaction.compact_committed(ledger.store)
    snapshot = Snapshot(ledger.store)
    assert snapshot.table("pictures")["digest"].to_pylist() == ["d2"]
    assert snapshot.problems == []
    assert list(Check(ledger.store).run()) == []
