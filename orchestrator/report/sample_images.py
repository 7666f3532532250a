"""Sample predictions of final trials: the images that they recorded of test cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.heldout.final_cells import FinalCell, final_cells

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

STILL_KINDS = {
    "image": "image",
    "truth": "true mask",
    "probability": "mean prediction",
    "uncertainty": "spread, white where it is ½ or more",
}
"""The kinds of images that a case has one of, in display order, with their descriptions."""
LEVEL_KINDS = {
    "noisy": "true mask with noise",
    "denoised": "denoised with the image",
    "blind": "denoised without the image",
}
"""The kinds of images that a diffusion model records per noise level."""


@dataclass(frozen=True)
class SampleImage:
    """One image as PNG."""

    png: bytes
    width: int
    """Pixels."""
    height: int
    alt: str
    """A text alternative."""
    log_snr: float | None
    """The noise level; None for a still."""
    t: float | None


@dataclass(frozen=True)
class Sample:
    """The images that one trial recorded of one test case."""

    study: str
    task: str
    arm: str
    model: str
    mode: str
    cell: str
    digest: str
    case: str
    stills: dict[str, SampleImage]
    """Images by kind, in the order of :data:`STILL_KINDS`."""
    levels: dict[str, list[SampleImage]]
    """Images by kind, as in :data:`LEVEL_KINDS`, clean to noise; empty without diffusion."""


def samples(
    tables: Catalog, cells: Iterable[FinalCell] | None = None, most: int = 2
) -> list[Sample]:
    """Return the samples of each cell's first seed: at most ``most`` cases, by name.

    ``cells`` defaults to all final cells. Only the images of the chosen trials are read; a trial
    without images has no sample.
    """
    chosen = [
        (cell, str(cell.trials.sort_values("seed")["digest"].iloc[0]))
        for cell in (final_cells(tables) if cells is None else cells)
    ]
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in tables.snapshot.table("pictures", {digest for _, digest in chosen}).to_pylist():
        rows.setdefault(row["digest"], {}).setdefault(row["case"], []).append(row)
    return [
        _sample(cell, digest, case, rows[digest][case])
        for cell, digest in chosen
        for case in sorted(rows.get(digest, {}))[:most]
    ]


def _sample(cell: FinalCell, digest: str, case: str, rows: list[dict[str, Any]]) -> Sample:
    rows = sorted(rows, key=lambda row: -(row["log_snr"] or 0.0))
    subject = f"{cell.task}, {cell.arm.replace('_', ' ')}, {case}"

    def of_kind(kind: str, description: str) -> list[SampleImage]:
        return [_image(row, f"{subject}: {description}") for row in rows if row["kind"] == kind]

    stills = {kind: images[0] for kind, d in STILL_KINDS.items() if (images := of_kind(kind, d))}
    levels = {kind: images for kind, d in LEVEL_KINDS.items() if (images := of_kind(kind, d))}
    return Sample(**cell.identity, digest=digest, case=case, stills=stills, levels=levels)


def _image(row: dict[str, Any], alt: str) -> SampleImage:
    level = "" if row["log_snr"] is None else f" at log-SNR {row['log_snr']:.1f}"
    size = (row["width"], row["height"])
    return SampleImage(row["png"], *size, f"{alt}{level}", row["log_snr"], row["t"])
