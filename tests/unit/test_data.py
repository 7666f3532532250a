from __future__ import annotations

from collections.abc import Callable

import torch

from trainables.config import Config
from trainables.data import prepare


def test_a_batch_does_not_depend_on_how_many_workers_share_it(
    small: Callable[..., Config],
) -> None:
    data = prepare(small().task)
    whole = data.batch(seed=0, step=3, count=6, flips=True)
    shares = [data.batch(0, 3, 6, True, rank, 2) for rank in range(2)]
    for name in ("images_BCHW", "masks_BMHW", "uniform_B", "drop_B", "noise_BMHW"):
        joined = torch.empty_like(getattr(whole, name))
        for rank, share in enumerate(shares):
            joined[rank::2] = getattr(share, name)
        assert torch.equal(joined, getattr(whole, name))


def test_batches_differ_by_step_and_seed_and_repeat_exactly(small: Callable[..., Config]) -> None:
    data = prepare(small().task)
    first = data.batch(0, 0, 4, True).noise_BMHW
    assert torch.equal(first, data.batch(0, 0, 4, True).noise_BMHW)
    assert not torch.equal(first, data.batch(0, 1, 4, True).noise_BMHW)
    assert not torch.equal(first, data.batch(1, 0, 4, True).noise_BMHW)


def test_times_are_stratified_over_the_global_batch(small: Callable[..., Config]) -> None:
    uniform = prepare(small().task).batch(0, 0, 8, True).uniform_B
    assert sorted((uniform * 8).long().tolist()) == list(range(8))


def test_image_and_mask_are_cropped_and_turned_together(small: Callable[..., Config]) -> None:
    """Without noise the image is an increasing function of its mask, before and after."""
    task = small(task={"synthetic": {"size": 16, "cases": 4, "noise": 0.0}}).task
    batch = prepare(task).batch(0, 0, 16, True)
    foreground = batch.images_BCHW > batch.images_BCHW.mean()
    assert torch.equal(foreground, batch.masks_BMHW.bool())


def test_tiles_cover_the_held_out_images_once(small: Callable[..., Config]) -> None:
    data = prepare(small(task="nuclei", model="intensity", train={"steps": 0}).task)
    assert (len(data.val.names), len(data.test.names)) == (8, 16)
    assert len(set(data.test.names)) == 16
