from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
import torch

from trainables import batches, controls
from trainables.config import Config
from trainables.data import Case, Norm, partners, prepare, prepared, tiles
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext

Small = Callable[..., Config]


@pytest.mark.parametrize("control", ["none", "shuffled_image"])
def test_a_batch_does_not_depend_on_how_many_workers_share_it(small: Small, control: str) -> None:
    config = small(train={"batch": 6, "control": control, "steps": 1})
    data = prepare(config.task, "tiles")
    whole = batches.draw(Run(config, WorkerContext(), data), 3)
    shares = [batches.draw(Run(config, WorkerContext(rank, 2), data), 3) for rank in range(2)]
    for name in whole._fields:
        if control == "none" and name.startswith("other"):
            assert getattr(whole, name) is None
            continue
        joined = torch.empty_like(getattr(whole, name))
        for rank, share in enumerate(shares):
            joined[rank::2] = getattr(share, name)
        assert torch.equal(joined, getattr(whole, name))


def test_batches_differ_by_step_and_seed_and_repeat_exactly(small: Small) -> None:
    data = prepare(small().task, "tiles")
    first = batches.draw(Run(small(), WorkerContext(), data), 0).noise_BMHW
    assert torch.equal(first, batches.draw(Run(small(), WorkerContext(), data), 0).noise_BMHW)
    assert not torch.equal(first, batches.draw(Run(small(), WorkerContext(), data), 1).noise_BMHW)
    assert not torch.equal(
        first, batches.draw(Run(small(seed=1), WorkerContext(), data), 0).noise_BMHW
    )


@pytest.mark.parametrize("mode", ["feedforward", "image_only"])
def test_arms_of_one_seed_see_the_same_crops(small: Small, mode: str) -> None:
    data = prepare(small().task, "tiles")
    first, second = (
        batches.draw(Run(small(), WorkerContext(), data), 5),
        batches.draw(Run(small(mode=mode), WorkerContext(), data), 5),
    )
    assert torch.equal(first.images_BCHW, second.images_BCHW)
    assert torch.equal(first.labels_BHW, second.labels_BHW)


def test_times_are_stratified_over_the_global_batch(small: Small) -> None:
    config = small(train={"batch": 8})
    uniform = batches.draw(Run(config, WorkerContext(), prepare(config.task, "tiles")), 0).uniform_B
    assert sorted((uniform * 8).long().tolist()) == list(range(8))


def test_image_and_mask_are_cropped_and_turned_together(small: Small) -> None:
    """Without noise the image is an increasing function of its mask, before and after."""
    config = small(task={"synthetic": {"size": 16, "cases": 4, "noise": 0.0}}, train={"batch": 16})
    batch = batches.draw(Run(config, WorkerContext(), prepare(config.task, "tiles")), 0)
    foreground = batch.images_BCHW > batch.images_BCHW.mean()
    assert torch.equal(foreground[:, 0], batch.labels_BHW.bool())


def test_a_batch_in_chunks_is_the_batch(small: Small) -> None:
    config = small(train={"batch": 5, "control": "shuffled_image", "steps": 1})
    batch = batches.draw(Run(config, WorkerContext(), prepare(config.task, "tiles")), 0)
    parts = batch.chunks(2)
    assert [len(p.seeds_B) for p in parts] == [3, 2]
    for name in batch._fields:
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(batch, name))


def test_tiles_cover_the_held_out_images_once(small: Small) -> None:
    task = small(task="nuclei").task
    data, whole = prepare(task, "tiles"), prepare(task, "images")
    assert (len(data.val), len(data.test)) == (8, 16)
    assert len({c.name for c in data.test}) == 16
    assert [c.labels.shape for c in whole.test] == [(512, 128)]
    for of in ("labels", "instances"):
        parts = sum(int(getattr(c, of).sum()) for c in data.test)
        assert parts == int(getattr(whole.test[0], of).sum())


def test_an_image_smaller_than_a_tile_is_one_tile_continued_at_its_edges(small: Small) -> None:
    data = prepare(small(task={"synthetic": {"size": 16, "cases": 2}}).task, "images")
    (tile, *others) = tiles(data.test[:1], 24)
    assert others == []
    assert tile.labels.shape == (24, 24)
    assert torch.equal(tile.labels[:16, :16], data.test[0].labels)
    assert torch.equal(tile.labels[16:, :16], data.test[0].labels[15:].expand(8, 16))
    torch.testing.assert_close(tile.image[:, :16, :16], data.test[0].image)


def _trained_on(small: Small, fraction: float, seed: int = 0) -> list[str]:
    config = small(
        task={"synthetic": {"size": 16, "cases": 10}}, train={"fraction": fraction}, seed=seed
    )
    return [case.name for case in prepared(config).train]


def test_a_smaller_share_of_the_data_is_a_subset_of_a_larger_one(small: Small) -> None:
    shares = [_trained_on(small, fraction) for fraction in (0.05, 0.3, 0.7, 1.0)]
    assert [len(share) for share in shares] == [1, 3, 7, 10]
    for smaller, larger in itertools.pairwise(shares):
        assert set(smaller) < set(larger)


def test_which_share_depends_on_the_seed_alone(small: Small) -> None:
    assert _trained_on(small, 0.3) == _trained_on(small, 0.3)
    assert {tuple(_trained_on(small, 0.3, seed)) for seed in range(8)} != {
        tuple(_trained_on(small, 0.3))
    }


def test_held_out_cases_stay_whole_when_fewer_are_trained_on(small: Small) -> None:
    few, all_of_them = prepared(small(train={"fraction": 0.25})), prepared(small())
    assert len(few.train) == 1
    for split in ("val", "test"):
        names = [[c.name for c in getattr(data, split)] for data in (few, all_of_them)]
        assert names[0] == names[1]
    few_images, images = few.train[0].image, all_of_them.train
    assert any(torch.equal(few_images, case.image) for case in images)  # normalised alike


@pytest.mark.parametrize("slices", [(10, 80, 10), (30, 60), (1, 1, 1, 1), (2, 3, 5, 7)])
def test_the_partner_of_a_slice_is_in_another_volume_at_the_same_place(
    slices: tuple[int, ...],
) -> None:
    norm, pixels = Norm(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), torch.zeros(1, 2, 2)
    labels = torch.zeros(2, 2, dtype=torch.uint8)
    cases = [
        dataclasses.replace(Case(f"v{v}/{z}", "g", pixels, labels, None, norm), volume=f"v{v}")
        for v, depth in enumerate(slices)
        for z in range(depth)
    ]
    found = partners(cases)
    for case, other in zip(cases, (cases[i] for i in found), strict=True):
        own, its = int(case.volume[1:]), int(other.volume[1:])
        assert its == (own + len(slices) // 2) % len(slices) != own
        z, place = (int(c.name.partition("/")[2]) for c in (case, other))
        assert place == z * slices[its] // slices[own]
    with pytest.raises(ValueError, match="needs 2 cases or more, there are 1"):
        partners(cases[: slices[0]])


def test_without_volumes_the_partner_is_half_the_list_away() -> None:
    norm, pixels = Norm(torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), torch.zeros(1, 2, 2)
    labels = torch.zeros(2, 2, dtype=torch.uint8)
    cases = [Case(f"c{i}", "g", pixels, labels, None, norm) for i in range(7)]
    assert partners(cases) == [controls.partner(i, 7) for i in range(7)]
