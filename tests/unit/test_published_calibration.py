"""Calibration rows of a published study: every mean to half a unit, and the same rows twice."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger.parquet import read_parquet, to_parquet
from orchestrator.tables.published_calibration import UNIT, as_decoded, coarse, decoded, encoded
from trainables.schemas import BINS, SCHEMAS


def stored(p: np.ndarray, y: np.ndarray) -> pa.Table:
    """Return the stored rows of the pixels of one case."""
    kept = np.clip(p, 1e-7, 1 - 1e-7)
    loss = -(y * np.log(kept) + (1 - y) * np.log(1 - kept))
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    texts = {f.name: "x" for f in SCHEMAS["calibration"] if pa.types.is_string(f.type)}
    rows = [
        texts
        | {
            "bin": int(k),
            "count": int(at.sum()),
            "p_sum": float(p[at].sum()),
            "y_sum": float(y[at].sum()),
            "square_sum": float(((p - y)[at] ** 2).sum()),
            "nll_sum": float(loss[at].sum()),
        }
        for k in np.unique(bins)
        for at in [bins == k]
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["calibration"])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5000), st.floats(0.05, 20))
def test_a_published_mean_is_off_by_half_a_unit_and_stays_where_it_is(
    seed: int, pixels: int, spread: float
) -> None:
    """Any p, from those of all pixels in one bin to confident errors."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-spread * rng.normal(size=pixels)))
    y = rng.integers(0, 2, pixels) * 1.0
    exact = coarse(stored(p, y))
    read = decoded(read_parquet(io.BytesIO(to_parquet(encoded(exact), small=True))))
    assert read.schema.names == exact.schema.names
    for name in ("bin", "count", "y_sum"):
        assert read[name].to_pylist() == exact[name].to_pylist()
    count = exact["count"].to_numpy()
    for name in ("p_sum", "square_sum", "nll_sum"):
        error = np.abs(read[name].to_numpy() - exact[name].to_numpy()) / count
        # Half a unit, and the rounding of float64 itself.
        assert (error <= UNIT / 2 * (1 + 1e-9)).all(), name
    assert decoded(exact) is exact, "files of the first format have sums"
    assert as_decoded(read).sort_by("bin").equals(read.sort_by("bin"))
