"""Calibration rows of a published study: fewer bins, and the means of each to a millionth.

Of each bin, the means of p, of (p − y)² and of the log loss are rounded to :data:`UNIT`. What the
bin says of a mean is left out: a code is the mean's distance, in units, from the one that the bin
and the frequency of y let expect. Codes are small, so that a file takes a third fewer bytes.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.ledger.parquet import fields
from trainables.schemas import BINS, SCHEMAS

COARSE = 20
PUBLISHED_BINS = BINS // COARSE
UNIT = 2.0**-20
"""The step of a published mean, which is off by at most half of it."""
CODES = {"p_sum": "p_code", "square_sum": "square_code", "nll_sum": "nll_code"}
SUMS = ("count", "p_sum", "y_sum", "square_sum", "nll_sum")

Array = NDArray[np.float64]


def coarse(table: pa.Table) -> pa.Table:
    """Return calibration rows with :data:`COARSE` neighbouring bins in one, named by the first."""
    bins: Any = pc.multiply(pc.divide(table["bin"], pa.scalar(COARSE)), pa.scalar(COARSE))
    table = table.set_column(table.schema.get_field_index("bin"), "bin", bins)
    names = SCHEMAS["calibration"].names
    by = [name for name in names if name not in SUMS]
    sums: Any = table.group_by(by).aggregate([(name, "sum") for name in SUMS])
    renamed = sums.rename_columns({f"{name}_sum": name for name in SUMS})
    return renamed.select(names).cast(SCHEMAS["calibration"])


def encoded(table: pa.Table) -> pa.Table:
    """Return coarse rows with a code in the place of each sum."""
    count = _numbers(table, "count")
    means = {name: _numbers(table, name) / count for name in CODES}
    units = {name: np.rint(mean / UNIT) for name, mean in means.items()}
    expected = _expected(table, units["p_sum"])
    for name, code in CODES.items():
        # Arrow refuses a value that does not fit, where NumPy would wrap it.
        column = pa.array(units[name] - expected[name]).cast(pa.int32())
        table = table.set_column(table.schema.get_field_index(name), code, column)
    return table


def decoded(table: pa.Table) -> pa.Table:
    """Return the rows that were encoded; rows with sums, as the first format has, stay as they are.

    Raises:
        KeyError: a column is missing.
        pyarrow.ArrowException: a column is not of numbers.
    """
    if set(CODES) <= set(table.column_names):
        return table
    count = _numbers(table, "count")
    p_units = _numbers(table, "p_code") + _bin_units(table)
    expected = _expected(table, p_units)
    for name, code in CODES.items():
        units = _numbers(table, code) + expected[name]
        column = pa.array(count * units * UNIT)
        table = table.set_column(table.schema.get_field_index(code), name, column)
    return table.select(SCHEMAS["calibration"].names)


def as_decoded(table: pa.Table) -> pa.Table:
    """Return calibration rows of a store as a reader of the published study gets them."""
    return decoded(encoded(coarse(table)))


def _bin_units(table: pa.Table) -> Array:
    """Return the centre of each row's bin, in units."""
    return np.rint((_numbers(table, "bin") + COARSE / 2) / BINS / UNIT)


def _expected(table: pa.Table, p_units: Array) -> dict[str, Array]:
    """Return the expected means, in units, where all pixels of a bin have its mean of p."""
    y = _numbers(table, "y_sum") / np.maximum(_numbers(table, "count"), 1)
    p = p_units * UNIT
    inside = np.clip(p, UNIT, 1 - UNIT)
    square = y * (1 - p) ** 2 + (1 - y) * p**2
    nll = -y * np.log(inside) - (1 - y) * np.log(1 - inside)
    whole = {"square_sum": np.rint(square / UNIT), "nll_sum": np.rint(nll / UNIT)}
    return {"p_sum": _bin_units(table), **whole}


def _numbers(table: pa.Table, name: str) -> Array:
    """Return a column as float64."""
    if name not in {field.name for field in fields(table.schema)}:
        raise KeyError(name)
    return cast("Any", table[name]).cast(pa.float64()).to_numpy()
