"""Typed rows of the tables in :mod:`trainables.schemas`, without the columns of the key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NotRequired, TypedDict

CaseKey = TypedDict("CaseKey", {"split": str, "case": str, "group": str, "class": str})
"""The held-out case and the foreground class that a row belongs to."""


class PixelCounts(TypedDict):
    """Pixels of one class in one case."""

    tp: int
    fp: int
    fn: int
    tn: int


class MaskShape(TypedDict):
    """The shape of a true mask (:func:`trainables.evaluation.instances.shape`)."""

    edges: int
    pairs: int
    objects: int


class CaseRow(CaseKey, PixelCounts, MaskShape):
    """A row of ``cases``."""

    reading: str


class BinSums(TypedDict):
    """Sums over the pixels in one bin of the probability."""

    bin: int
    count: int
    p_sum: float
    y_sum: float
    square_sum: float
    nll_sum: float


class CalibrationRow(CaseKey, BinSums):
    """A row of ``calibration``."""

    reading: str


class PairSums(TypedDict):
    """Sums over pairs of masks (:func:`trainables.evaluation.diversity.row`)."""

    truth_pairs: int
    member_pairs: int
    annotation_pairs: int
    truth_iou_sum: float
    member_iou_sum: float
    annotation_iou_sum: float
    matched: int
    matched_iou_sum: float
    truth_area_gap_sum: float
    member_area_gap_sum: float


class SampleRow(CaseKey, PairSums):
    """A row of ``samples``."""


class AnnotatorRow(CaseKey, PixelCounts):
    """A row of ``annotators``."""

    annotator: str
    dice_sum: float
    dice_count: int


class InstanceSums(TypedDict):
    """Counts and overlaps of instances (:func:`trainables.evaluation.instances.row`)."""

    true_instances: int
    predicted_instances: int
    matched: int
    matched_iou_sum: float
    aji_intersection: int
    aji_union: int


class SurfaceSums(TypedDict):
    """Surface pixels of both masks in one bin of their distance to the other surface."""

    bin: int
    predicted_count: int
    predicted_distance_sum: float
    predicted_area: float
    true_count: int
    true_distance_sum: float
    true_area: float


class SurfaceRow(CaseKey, SurfaceSums):
    """A row of ``surfaces``."""

    unit: str


class InstanceRow(CaseKey, InstanceSums):
    """A row of ``instances``."""


class Picture(TypedDict, total=False):
    """A picture; ``t`` and ``log_snr`` where it belongs to a noise level."""

    kind: str
    width: int
    height: int
    png: bytes
    t: float
    log_snr: float


class PictureRow(Picture):
    """A row of ``pictures``."""

    case: str
    group: str


class ProbeSums(TypedDict):
    """Sums over the draws of one tile in one stratum under one control."""

    bin: int
    control: str
    pixels: int
    draws: int
    t_sum: float
    log_snr_sum: float
    x0_error_sum: float
    x0_error_square_sum: float
    eps_error_sum: float
    x0_gap_sum: NotRequired[float]
    eps_gap_sum: NotRequired[float]
    tp: int
    fp: int
    fn: int
    tn: int


class ProbeRow(ProbeSums):
    """A row of ``probes``."""

    case: str
    group: str
    axis: str
    low: float
    high: float


class StepRow(TypedDict):
    """A row of ``steps``: one validation."""

    step: int
    loss_sum: float | None
    loss_count: int
    score_sum: float
    score_count: int
    case_scores: list[float]
    seconds: float


class LogRow(TypedDict):
    """A row of ``logs``."""

    name: str
    text: str


class Environment(TypedDict, total=False):
    """The columns of ``trials`` that describe where an attempt ran."""

    world_size: int
    device: str
    devices: str
    threads: int
    host: str
    platform: str
    packages: str


class TrialRow(Environment, total=False):
    """A row of ``trials``; columns that were not measured are absent."""

    task: str
    model: str
    mode: str
    schedule: str | None
    outcome: str
    reason: str
    seed: int
    config: str
    data_hash: str
    steps: int
    best_step: int | None
    score: float | None
    parameters: int
    macs_per_pass: int
    passes_per_image: int
    train_seconds: float | None
    validate_seconds: float
    test_seconds: float
    probe_seconds: float
    test_images: int
    reading_seconds: float
    device_seconds: float | None
    probe_passes: int
    peak_host_bytes: int
    peak_device_bytes: int | None
    started_at: datetime
    ended_at: datetime
    code: str
    trainings: list[str]
    weights: list[str]
    trained_on: str


@dataclass
class Rows:
    """Rows of the tables that the evaluation fills."""

    cases: list[CaseRow] = field(default_factory=list[CaseRow])
    calibration: list[CalibrationRow] = field(default_factory=list[CalibrationRow])
    samples: list[SampleRow] = field(default_factory=list[SampleRow])
    annotators: list[AnnotatorRow] = field(default_factory=list[AnnotatorRow])
    instances: list[InstanceRow] = field(default_factory=list[InstanceRow])
    surfaces: list[SurfaceRow] = field(default_factory=list[SurfaceRow])
    pictures: list[PictureRow] = field(default_factory=list[PictureRow])

    def extend(self, other: Rows) -> None:
        """Append the rows of another evaluation, table by table."""
        for table, rows in vars(other).items():
            getattr(self, table).extend(rows)
