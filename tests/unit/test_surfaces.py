"""Surface distances: HD95, ASSD and NSD from stored bins, against brute force over pixels."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from tests.cells import commit
from tests.docs.pages import read
from trainables.distance_bins import BINS, FINE, UPPER
from trainables.evaluation import surfaces
from trainables.metrics import Array, Metric
from trainables.parsing import parse_part

Mask = NDArray[np.bool_]
BIN = 1 / FINE


def surface(mask: Mask) -> NDArray[np.int64]:
    """The pixels with a neighbour outside, one by one: [N, dimensions]."""
    found: list[tuple[int, ...]] = []
    for place in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                inside = (other >= 0).all() and (other < mask.shape).all()
                if not inside or not mask[tuple(other)]:
                    found.append(tuple(int(n) for n in place))
    return np.array(sorted(set(found)), np.int64).reshape(-1, mask.ndim)


def directed(predicted: Mask, truth: Mask, sides: tuple[float, ...]) -> tuple[Array, Array]:
    """The distances of both surfaces, from every pixel to every other."""
    between = cdist(surface(predicted) * sides, surface(truth) * sides)
    return between.min(1), between.min(0)


def sums(
    predicted: Mask,
    truth: Mask,
    sides: tuple[float, ...] = (),
    counted: Mask | None = None,
) -> dict[str, Array]:
    counted = np.ones_like(truth) if counted is None else counted
    rows = surfaces.rows(predicted, truth, counted, sides)
    dense: dict[str, Array] = {}
    for row in rows:
        for name, value in cast("dict[str, float]", row).items():
            if name != "bin":
                dense.setdefault(name, np.zeros((1, BINS)))[0, row["bin"]] = value
    return dense


def value(name: str, found: dict[str, Array], **fields: Any) -> float:
    return float(cast("Metric", parse_part("metrics", {name: fields})).value(found)[0])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([(9, 12), (4, 6, 7)]), st.booleans())
def test_distances_are_those_of_brute_force(
    seed: int, shape: tuple[int, ...], in_millimetres: bool
) -> None:
    draws = np.random.default_rng(seed)
    predicted, truth = (draws.random(shape) < draws.uniform(0.05, 0.8) for _ in range(2))
    if not predicted.any() or not truth.any():
        return
    sides = (2.5, 0.75, 0.6)[-len(shape) :] if in_millimetres else (1.0,) * len(shape)
    found = sums(predicted, truth, sides)
    there, back = directed(predicted, truth, sides)
    both = np.concatenate([there, back])
    assert value("assd", found) == pytest.approx(both.mean())
    expected = max(np.quantile(there, 0.95), np.quantile(back, 0.95))
    assert value("hd95", found) == pytest.approx(expected, abs=BIN)
    for tolerance in (0.0, 0.5, 1.0, 2.0, 3.0, 20.0):
        share = (both <= tolerance + 1e-9).mean()
        assert value("nsd", found, tolerance=tolerance) == pytest.approx(share)


def test_a_square_that_is_moved_by_three_pixels_has_distances_known_by_hand() -> None:
    truth, moved = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    truth[4:8, 4], moved[4:8, 7] = True, True
    found = sums(moved, truth)
    assert value("hd95", found) == value("assd", found) == 3.0
    assert value("nsd", found, tolerance=3.0) == 1.0
    assert value("nsd", found, tolerance=2.95) == 0.0
    apart = sums(moved, truth, (1.0, 0.5))
    assert value("hd95", apart) == 1.5


def test_areas_are_those_of_the_faces_to_the_outside() -> None:
    """A box of 2 × 3 × 4 voxels of 3 × 1 × 0.5 mm at a corner of the image."""
    box = np.zeros((5, 6, 7), bool)
    box[:2, :3, :4] = True
    found = sums(box, box, (3.0, 1.0, 0.5))
    height, width, depth = 2 * 3.0, 3 * 1.0, 4 * 0.5
    area = 2 * (height * width + height * depth + width * depth)
    assert found["true_area"].sum() == pytest.approx(area)
    assert found["predicted_area"][0, 0] == pytest.approx(area)


def test_two_empty_masks_have_no_rows_and_one_empty_mask_the_diagonal() -> None:
    """As BraTS counts a missed lesion: its distance is the largest that the image has."""
    nothing, lesion = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    lesion[3:9, 5:8] = True
    assert surfaces.rows(nothing, nothing, np.ones_like(nothing)) == []
    for found in (sums(nothing, lesion), sums(lesion, nothing)):
        assert value("hd95", found) == value("assd", found) == 50.0
        assert value("nsd", found) == 0.0


def test_a_border_to_ignored_pixels_is_no_surface() -> None:
    """The right half is ignored: a mask that goes on into it has no surface there."""
    truth, counted = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    truth[2:6, 1:7] = True
    counted[:, 4:] = False
    rows = surfaces.rows(truth, truth, counted)
    expected = surface(truth)
    assert sum(r["true_count"] for r in rows) == (expected[:, 1] < 4).sum()


def test_a_mask_that_borders_ignored_pixels_only_has_that_border_as_its_surface() -> None:
    """A disc inside a ring of ignored pixels, as in a trimap."""
    y, x = np.ogrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    truth, counted = radius < 20, (radius < 20) | (radius >= 23)
    edge = surface(truth)

    def hd95(predicted: Mask, true: Mask) -> float:
        return value("hd95", sums(predicted, true, counted=counted))

    assert hd95(truth, truth) == 0
    smaller = radius < 19
    exact = max(np.percentile(distances, 95) for distances in directed(smaller, truth, (1.0, 1.0)))
    for pair in ((smaller, truth), (truth, smaller)):
        assert hd95(*pair) == pytest.approx(exact, abs=0.05)
    everything, nothing = np.ones_like(truth), np.zeros_like(truth)
    assert len(edge) == sum(r["true_count"] for r in surfaces.rows(nothing, truth, counted))
    assert hd95(nothing, truth) == pytest.approx(64 * 2**0.5)
    assert hd95(everything, truth) > 10


def test_the_sums_of_two_cases_give_the_value_over_the_surface_pixels_of_both() -> None:
    draws = np.random.default_rng(1)
    pairs = [(draws.random((9, 9)) < 0.4, draws.random((9, 9)) < 0.4) for _ in range(2)]
    one, other = (sums(*pair) for pair in pairs)
    added = {name: one[name] + other[name] for name in one}
    both = np.concatenate([d for pair in pairs for d in directed(*pair, (1.0, 1.0))])
    assert value("assd", added) == pytest.approx(both.mean())
    assert value("nsd", added, tolerance=1.0) == pytest.approx((both <= 1).mean())


def test_the_view_has_every_case_in_both_units(ledger: Ledger) -> None:
    """A line that is moved by three pixels of half a millimetre, and a missed lesion."""
    line, moved = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    line[4:8, 4], moved[4:8, 7] = True, True
    sides = {"px": (1.0, 1.0), "mm": (0.5, 0.5)}
    key = {"split": "test", "group": "g", "class": "x"}
    stored = [
        {**key, "case": case, "unit": unit, **bins}
        for case, found in (("c0", moved), ("c1", np.zeros_like(line)))
        for unit, spacing in sides.items()
        for bins in surfaces.rows(found, line, np.ones_like(line), spacing)
    ]
    commit(ledger, "0" * 16, "arm", [(0, 4, 4), (0, 0, 4)], more={"surfaces": stored})
    tables = catalog(ledger)
    rows = {(r["case"], r["unit"]): r for r in tables["surface_distances"].to_pylist()}
    assert rows.keys() == {(case, unit) for case in ("c0", "c1") for unit in sides}
    near, missed = rows["c0", "mm"], rows["c1", "mm"]
    assert near["hd95"] == near["assd"] == near["assd_by_area"] == 1.5
    assert (near["nsd_1"], near["nsd_2"]) == (0.0, 1.0)
    assert missed["hd95"] == missed["assd"] == 25.0
    assert (missed["predicted_pixels"], missed["true_pixels"]) == (0, 4)
    (board,) = tables["leaderboard"].to_pylist()
    assert board["hd95"] == board["assd"] == pytest.approx((3 + 50) / 2)
    assert board["nsd"] == 0.0
    (block,) = re.findall(r'sql\("""\n(.+?)"""\)', read("docs/statistics.md"), re.DOTALL)
    shares = {r["case"]: r["nsd_3"] for r in tables.sql(block).to_pylist()}
    assert shares == {"c0": 1.0, "c1": 0.0}


def test_bins_rise_and_an_edge_belongs_to_its_bin() -> None:
    assert (np.diff(UPPER) > 0).all()
    assert UPPER[[0, 1, FINE, 20 * FINE, 20 * FINE + 1]].tolist() == [0, 0.05, 1, 20, 20.5]
    assert len(UPPER) == BINS


@pytest.mark.parametrize("tolerance", [-1.0, 0.01, 21.0])
def test_a_tolerance_between_two_bins_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match=r"tolerance=.* must be a multiple of 0.05"):
        parse_part("metrics", {"nsd": {"tolerance": tolerance}})


def by_monai(predicted: Mask, truth: Mask, sides: tuple[float, ...]) -> tuple[float, float, float]:
    """HD95, ASSD and NSD at a tolerance of 2, as MONAI computes them."""
    monai: Any = pytest.importorskip("monai.metrics")
    masks = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (predicted, truth)]
    spacing = list(sides)
    hd95 = monai.compute_hausdorff_distance(
        *masks, include_background=True, percentile=95, spacing=spacing
    )
    assd = monai.compute_average_surface_distance(
        *masks, include_background=True, symmetric=True, spacing=spacing
    )
    nsd = monai.compute_surface_dice(*masks, [2.0], include_background=True, spacing=spacing)
    return float(hd95), float(assd), float(nsd)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((40, 33), (1.0, 1.0)),
        ((40, 33), (0.7, 1.3)),
        ((9, 20, 17), (1.0, 1.0, 1.0)),
        ((9, 20, 17), (3.0, 0.8, 0.8)),
    ],
)
def test_monai_finds_the_same_distances(shape: tuple[int, ...], sides: tuple[float, ...]) -> None:
    """HD95 to half a bin, ASSD and NSD exactly, of blobs and of scattered pixels."""
    draws = np.random.default_rng(0)
    for smooth in (0.0, 1.0, 2.0):
        for share in (0.1, 0.4):
            fields = [ndimage.gaussian_filter(draws.standard_normal(shape), smooth) for _ in "ab"]
            fields[1] = fields[0] + 0.7 * fields[1]  # so that the masks have much in common
            predicted, truth = (f > np.quantile(f, 1 - share) for f in fields)
            found = sums(predicted, truth, sides)
            hd95, assd, nsd = by_monai(predicted, truth, sides)
            assert value("hd95", found) == pytest.approx(hd95, abs=BIN / 2)
            assert value("assd", found) == pytest.approx(assd, abs=1e-5)
            assert value("nsd", found) == pytest.approx(nsd, abs=1e-6)
