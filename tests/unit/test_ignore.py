"""Pixels to be ignored count nowhere: every number is that of the other pixels alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from tests.contracts.test_modes import CLASSES, SPECS, mode
from trainables.augment import Augment, View, views, warped
from trainables.config import Config, parse
from trainables.data import Case, Norm, Prepared
from trainables.evaluation import evaluate, probe
from trainables.labels import IGNORE
from trainables.models import Features, Network, Output
from trainables.models.intensity import LevelTable
from trainables.modes import Batch
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.tiling import Window


class Pixelwise(Network):
    """Every output depends on its own pixel alone; what it puts out is a leaf of the gradient."""

    def __init__(self, out: int, classes: int, garbage: Tensor | None = None) -> None:
        super().__init__()
        self.out, self.classes, self.garbage = out, classes, garbage
        self.put_out: list[Tensor] = []

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        signs = torch.arange(1, self.out + 1)[:, None, None] % 3 - 1.0
        seen = image_BCHW[:, :1] + mask_BMHW.sum(1, keepdim=True) / 3
        main, side = seen * signs + 0.1, seen.repeat(1, self.classes, 1, 1) - 0.2
        if self.garbage is not None:
            main, side = main + self.garbage, side + self.garbage
        self.put_out = [main.detach().requires_grad_(), side.detach().requires_grad_()]
        return Output(*self.put_out, auxiliary_weight=0.5)


def half_ignored(wanted: Any, classes: int, garbage: float = 0) -> tuple[Tensor, list[Tensor]]:
    """The losses of 4 cases of 8 x 8, of which the right half is ignored, and their gradients."""
    whole = batch(wanted, classes)
    whole.labels_BHW[:, :, 4:] = IGNORE
    ports = wanted.ports(1, classes)
    noise = torch.zeros(8, 8)
    noise[:, 4:] = garbage * torch.randn(8, 4)
    network = Pixelwise(ports.out, ports.classes, noise)
    losses = wanted.losses(network, whole, classes, "none")
    losses.sum().backward()
    return losses, [cast("Tensor", x.grad) for x in network.put_out]


def batch(wanted: Any, classes: int) -> Batch:
    draws = torch.Generator().manual_seed(2)
    return Batch(
        torch.randn(4, 1, 8, 8, generator=draws),
        torch.randint(classes, (4, 8, 8), generator=draws).byte(),
        (torch.arange(4) + torch.rand(4, generator=draws)) / 4,
        *(torch.rand(4, generator=draws) for _ in range(2)),
        torch.arange(4),
        torch.randn((4, wanted.ports(1, classes).mask, 8, 8), generator=draws),
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("classes", CLASSES)
def test_the_loss_is_that_of_the_other_pixels_and_its_gradient_is_zero(
    spec: Any, classes: int
) -> None:
    wanted = mode(spec)
    left = batch(wanted, classes)
    left = left._replace(
        images_BCHW=left.images_BCHW[..., :4],
        labels_BHW=left.labels_BHW[..., :4],
        noise_BMHW=left.noise_BMHW[..., :4],
    )
    ports = wanted.ports(1, classes)
    alone = wanted.losses(Pixelwise(ports.out, ports.classes), left, classes, "none")
    losses, gradients = half_ignored(wanted, classes)
    torch.testing.assert_close(losses, alone)
    for gradient in gradients:
        assert not gradient[..., 4:].any()
        assert gradient[..., :4].any()
    torch.testing.assert_close(half_ignored(wanted, classes, 50.0)[0], losses, rtol=0, atol=0)


def test_a_case_without_a_pixel_that_counts_has_no_loss() -> None:
    wanted = mode("feedforward")
    whole = batch(wanted, 2)
    whole.labels_BHW[0] = IGNORE
    network = Pixelwise(1, 1)
    losses = wanted.losses(network, whole, 2, "none")
    losses.sum().backward()
    assert losses[0].item() == 0
    assert not cast("Tensor", network.put_out[0].grad)[0].any()
    assert losses.isfinite().all()


def config(tmp_path: Path, spec: Any, classes: int = 2, **changes: Any) -> Config:
    names = {str(k): f"c{k}" for k in range(classes)} | {"255": "ignore"}
    task = {"folder": {"at": str(tmp_path), "size": 16, "values": names}}
    return parse(
        {
            "task": task,
            "model": {"ensemdiff": {"channels": 8, "multipliers": [1], "blocks": 1}},
            "mode": spec,
            "test": {"unit": "images", "pictures": 0},
            "probe": {"bins": 3, "draws": 2},
            **changes,
        }
    )


def prepared(width: int, classes: int, *, complete: bool) -> Prepared:
    """Two cases of 16 x 16 of which the columns from 9 are ignored, or that end there."""
    cases: list[Case] = []
    for i in range(2):
        draws = torch.Generator().manual_seed(i)
        pixels = torch.randn(3, 16, 16, generator=draws)
        labels = torch.randint(classes, (16, 16), generator=draws).byte()
        labels[:, 4:7] = 1
        instances = torch.arange(256).reshape(16, 16).int() // 20 * (labels > 0)
        if not complete:
            labels[:, 9:] = IGNORE
        cut = (slice(None), slice(width))
        cases.append(
            Case(
                f"c{i}",
                f"c{i}",
                pixels[:, :, :width],
                labels[cut],
                instances[cut].int(),
                Norm(torch.zeros(3, 1, 1), torch.ones(3, 1, 1)),
                complete=complete,
            )
        )
    return Prepared(cases, cases, cases, 16)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(
    "spec", ["feedforward", {"diffusion": {"members": 2, "sampler": {"ddim": {"steps": 2}}}}]
)
def test_every_row_and_score_is_that_of_an_image_without_these_pixels(
    tmp_path: Path, spec: Any, classes: int
) -> None:
    wanted = config(tmp_path, spec, classes)
    ports = wanted.ports
    found: list[Any] = []
    for width, complete, garbage in ((16, False, 0), (16, False, 9), (9, True, 0)):
        run = Run(wanted, WorkerContext(), prepared(width, classes, complete=complete))
        noise = torch.zeros(16, 16)
        noise[:, 9:] = garbage * torch.randn(16, 7)
        network = Pixelwise(ports.out, ports.classes, noise)
        rows = evaluate.measure(run, network, "test")
        logits = evaluate.validation_logits(run, network)
        found.append((rows, evaluate.score(run, network), logits))
        assert rows.cases
        assert rows.instances
        assert rows.calibration
        assert rows.samples
    (rows, scores, logits), *others = found
    assert others[0][0].surfaces == rows.surfaces  # an image's border is surface, unlike this one
    for other_rows, other_scores, other_logits in others:
        assert {**vars(other_rows), "surfaces": None} == {**vars(rows), "surfaces": None}
        torch.testing.assert_close(other_scores, scores, rtol=0, atol=0)
        for one, other in zip(logits, other_logits, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_probe_measures_the_other_pixels_alone(tmp_path: Path) -> None:
    spec = {"diffusion": {"evidence": False}}
    wanted = config(tmp_path, spec)
    run = Run(wanted, WorkerContext(), prepared(16, 2, complete=False))

    def measured(garbage: float) -> list[Any]:
        noise = torch.zeros(16, 16)
        noise[:, 9:] = garbage
        return probe.measure(run, Zeros(1, 1, noise))

    rows = measured(0)
    assert rows
    for row in rows:
        assert row["pixels"] == 16 * 9
        assert row["x0_error_sum"] == row["draws"] * 16 * 9  # the estimate is 0, x0 is -1 or 1
        assert sum(row[k] for k in ("tp", "fp", "fn", "tn")) == row["draws"] * 16 * 9
    assert measured(30) == rows


class Zeros(Pixelwise):
    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        assert self.garbage is not None
        return Output(torch.zeros_like(mask_BMHW) + self.garbage)


def test_a_fit_in_closed_form_counts_the_other_pixels_alone() -> None:
    images, labels = torch.randn(2, 1, 8, 8), torch.randint(3, (2, 8, 8)).byte()
    labels[:, :, 5:] = IGNORE
    tables = [LevelTable(4, 3), LevelTable(4, 3), LevelTable(4, 3)]
    tables[0].fit(images, labels)
    tables[1].fit(images[..., :5], labels[..., :5])
    images[..., 5:] *= 100
    tables[2].fit(images, labels)
    for other in tables[1:]:
        torch.testing.assert_close(tables[0].table, other.table, rtol=0, atol=0)
        torch.testing.assert_close(tables[0].edges, other.edges, rtol=0, atol=0)


def test_a_warp_moves_ignored_pixels_with_the_image_and_makes_no_other_labels() -> None:
    labels = torch.zeros(20, 24, dtype=torch.uint8)
    labels[4:12, 6:14], labels[:, 18:] = 1, IGNORE
    shown = (labels == IGNORE).float()[None]
    strong = Augment(rotate=90.0, scale=1.0, elastic=0.1)
    for view in views(strong, [0] * 20, 16, 1, torch.Generator().manual_seed(0)):
        image, found = warped(shown, labels, Window(2, 4, 16), view)
        assert set(found.unique().tolist()) <= {0, 1, IGNORE}
        assert bool((found == IGNORE)[image[0] == 1].all())
        assert not bool((found == IGNORE)[image[0] == 0].any())
    still = View(0, 0.0, 1.0, torch.zeros(2, 4, 4), torch.ones(1), torch.zeros(1))
    _, same = warped(shown, labels, Window(2, 4, 16), still)
    torch.testing.assert_close(same, labels[2:18, 4:20])
