"""Arrow schemas of the result tables: additive rows in nine tables, pictures and logs.

A row holds sums and counts; ratios, means and intervals are computed from Parquet. Rows are
additive: the sum over tiles, ranks or members is the row of the union. A number that was not
measured is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_VERSION = 9

BINS = 1200
"""Fine bins of the stored probability histogram, a multiple of 10, 15 and 20."""

BAND = 3
"""Pixels on either side of a true boundary for which calibration is also measured separately."""

Outcome = Literal["finished", "pruned", "diverged", "failed"]
"""The end of an attempt. Pruned: stopped early. Diverged: a NaN or inf. Failed: an exception."""


class DivergedError(ArithmeticError):
    """A NaN or inf in the loss, the gradient or the weights: the outcome is ``diverged``."""


Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]

ABOUT = ("task", "model", "mode", "schedule")
"""Columns of the trial that every row repeats, so that common queries need no join."""
KEY = ("digest", "attempt", *ABOUT)

_KEY = [(name, pa.string()) for name in KEY]
_COUNTS = [(name, pa.int64()) for name in ("tp", "fp", "fn", "tn")]
_CASE = [
    ("split", pa.string()),
    ("case", pa.string()),
    ("group", pa.string()),
    ("class", pa.string()),
]
_READING = ("reading", pa.string())
"""The evaluated prediction: the ``sample``, the ``auxiliary`` output, their ``blend``, or the
sample under a control (:mod:`trainables.controls`); in ``calibration`` also the sample's pixels
near the true ``boundary`` (:func:`trainables.evaluation.instances.boundary_band`)."""

WITH_NAN = ("trials", "steps")
"""The tables whose numbers may be NaN, which shows that a training diverged."""

SCHEMAS: dict[str, pa.Schema] = {
    # One row per attempt: config, outcome, environment and cost.
    "trials": pa.schema(
        [
            *_KEY,
            ("outcome", pa.string()),
            ("reason", pa.string()),
            ("seed", pa.int64()),
            ("config", pa.string()),
            ("data_hash", pa.string()),
            ("steps", pa.int64()),
            ("best_step", pa.int64()),
            ("score", pa.float64()),
            ("world_size", pa.int64()),
            ("device", pa.string()),
            ("devices", pa.string()),
            ("threads", pa.int64()),
            ("host", pa.string()),
            ("platform", pa.string()),
            ("parameters", pa.int64()),
            ("macs_per_pass", pa.int64()),
            ("passes_per_image", pa.int64()),
            ("train_seconds", pa.float64()),
            ("validate_seconds", pa.float64()),
            ("test_seconds", pa.float64()),
            ("probe_seconds", pa.float64()),
            ("test_images", pa.int64()),
            ("device_seconds", pa.float64()),
            ("probe_passes", pa.int64()),
            ("peak_host_bytes", pa.int64()),
            ("peak_device_bytes", pa.int64()),
            ("started_at", pa.timestamp("us", tz="UTC")),
            ("ended_at", pa.timestamp("us", tz="UTC")),
            ("code", pa.string()),
            ("packages", pa.string()),
            ("reading_seconds", pa.float64()),
            ("trainings", pa.list_(pa.string())),
            ("weights", pa.list_(pa.string())),
            ("trained_on", pa.string()),
        ]
    ),
    # One row per validation: the training loss since the last one, the validation score, and the
    # mean Dice of each validation case, in their order.
    "steps": pa.schema(
        [
            *_KEY,
            ("step", pa.int64()),
            ("loss_sum", pa.float64()),
            ("loss_count", pa.int64()),
            ("score_sum", pa.float64()),
            ("score_count", pa.int64()),
            ("case_scores", pa.list_(pa.float64())),
            ("seconds", pa.float64()),
        ]
    ),
    # One row per held-out case, foreground class and reading: pixels of the ensemble's mask, and
    # the shape of the true mask, which every reading repeats
    # (trainables.evaluation.instances.shape).
    "cases": pa.schema(
        [
            *_KEY,
            *_CASE,
            _READING,
            *_COUNTS,
            ("edges", pa.int64()),
            ("pairs", pa.int64()),
            ("objects", pa.int64()),
        ]
    ),
    # One row per case and foreground class: the diversity of the ensemble. Sums of IoU, and of the
    # difference of the areas in pixels, over all ordered pairs (a member with itself included), and
    # sums of IoU over the best one-to-one matching.
    "samples": pa.schema(
        [
            *_KEY,
            *_CASE,
            ("truth_pairs", pa.int64()),
            ("member_pairs", pa.int64()),
            ("annotation_pairs", pa.int64()),
            ("truth_iou_sum", pa.float64()),
            ("member_iou_sum", pa.float64()),
            ("annotation_iou_sum", pa.float64()),
            ("matched", pa.int64()),
            ("matched_iou_sum", pa.float64()),
            ("truth_area_gap_sum", pa.float64()),
            ("member_area_gap_sum", pa.float64()),
        ]
    ),
    # One row per case, foreground class and annotator of data with several annotators: pixels of
    # the prediction against the annotator's mask, and their Dice (an empty mask of an empty
    # annotation counts as 1).
    "annotators": pa.schema(
        [
            *_KEY,
            *_CASE,
            ("annotator", pa.string()),
            *_COUNTS,
            ("dice_sum", pa.float64()),
            ("dice_count", pa.int64()),
        ]
    ),
    # One row per case and foreground class of data with instances: instances found and missed.
    "instances": pa.schema(
        [
            *_KEY,
            *_CASE,
            ("true_instances", pa.int64()),
            ("predicted_instances", pa.int64()),
            ("matched", pa.int64()),
            ("matched_iou_sum", pa.float64()),
            ("aji_intersection", pa.int64()),
            ("aji_union", pa.int64()),
        ]
    ),
    # One row per case, foreground class, unit and non-empty bin of the surface distance
    # (trainables.evaluation.surfaces, trainables.distance_bins).
    "surfaces": pa.schema(
        [
            *_KEY,
            *_CASE,
            ("unit", pa.string()),
            ("bin", pa.int64()),
            ("predicted_count", pa.int64()),
            ("predicted_distance_sum", pa.float64()),
            ("predicted_area", pa.float64()),
            ("true_count", pa.int64()),
            ("true_distance_sum", pa.float64()),
            ("true_area", pa.float64()),
        ]
    ),
    # One row per case, foreground class, reading and non-empty bin of the probability.
    "calibration": pa.schema(
        [
            *_KEY,
            *_CASE,
            _READING,
            ("bin", pa.int64()),
            ("count", pa.int64()),
            ("p_sum", pa.float64()),
            ("y_sum", pa.float64()),
            ("square_sum", pa.float64()),
            ("nll_sum", pa.float64()),
        ]
    ),
    # One row per tile, stratum and control: errors of one denoising pass, summed over draws.
    "probes": pa.schema(
        [
            *_KEY,
            ("case", pa.string()),
            ("group", pa.string()),
            ("axis", pa.string()),
            ("bin", pa.int64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("control", pa.string()),
            ("pixels", pa.int64()),
            ("draws", pa.int64()),
            ("t_sum", pa.float64()),
            ("log_snr_sum", pa.float64()),
            ("x0_error_sum", pa.float64()),
            ("x0_error_square_sum", pa.float64()),
            ("eps_error_sum", pa.float64()),
            ("x0_gap_sum", pa.float64()),
            ("eps_gap_sum", pa.float64()),
            *_COUNTS,
        ]
    ),
    # One row per picture of the first test cases (trainables.evaluation.pictures); no sums.
    "pictures": pa.schema(
        [
            *_KEY,
            ("case", pa.string()),
            ("group", pa.string()),
            ("kind", pa.string()),
            ("log_snr", pa.float64()),
            ("t", pa.float64()),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("png", pa.binary()),
        ]
    ),
    # One row per text that the library of a model wrote: its plan, its log.
    "logs": pa.schema([*_KEY, ("name", pa.string()), ("text", pa.string())]),
}


def to_arrow(table: str, rows: Sequence[Row] | pa.Table, key: Mapping[str, str | None]) -> pa.Table:
    """Return rows as a typed table; ``key`` gives the columns in :data:`KEY`.

    Raises:
        ValueError: a row has a column that is not in the table's schema, or a value that is not of
            the column's type.
    """
    schema = SCHEMAS[table]
    given = [set(rows.column_names)] if isinstance(rows, pa.Table) else [row.keys() for row in rows]
    if isinstance(rows, pa.Table) and len(given[0]) < len(rows.column_names):
        raise ValueError(f"{table}: a column is there twice (columns: {rows.column_names})")
    for names in given:
        if not names <= set(schema.names):
            unknown = sorted(names - set(schema.names))
            raise ValueError(f"{table}: unknown column {unknown} (choices: {schema.names})")
    fields = cast("Iterable[pa.Field[pa.DataType]]", schema)
    return pa.Table.from_arrays([_column(table, f, rows, key) for f in fields], schema=schema)


def _column(
    table: str,
    field: pa.Field[pa.DataType],
    rows: Sequence[Row] | pa.Table,
    key: Mapping[str, str | None],
) -> Any:
    """Return a column: constant if ``key`` has it, null if no row has it."""
    try:
        if field.name in key:
            return pa.array([key[field.name]] * len(rows), field.type)
        values = _values(field, rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as e:
        raise ValueError(f"{table}.{field.name} must be {field.type}: {e}") from None
    if table not in WITH_NAN and pa.types.is_floating(field.type):
        compute = cast("Any", pc)  # the stubs leave these functions partly untyped
        nan = compute.index(compute.is_nan(values), value=True).as_py()
        if nan >= 0:
            listed: Any = rows.to_pylist() if isinstance(rows, pa.Table) else rows
            where = f"{table}.{field.name} of case {listed[nan].get('case')}"
            raise ValueError(f"{where} is NaN: a number that was not measured is null")
    return values


def _values(field: pa.Field[pa.DataType], rows: Sequence[Row] | pa.Table) -> Any:
    if not isinstance(rows, pa.Table):
        return pa.array([row.get(field.name) for row in rows], field.type)
    if field.name not in rows.column_names:
        return pa.array([None] * len(rows), field.type)
    return cast("Any", rows)[field.name].cast(field.type)
