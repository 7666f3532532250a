"""Sample predictions of final trials: the pictures that they recorded, ready to be shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.heldout.final_cells import FinalCell, final_cells

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

STILLS = {
    "image": "image",
    "truth": "true mask",
    "probability": "mean prediction",
    "uncertainty": "spread, white where it is ½ or more",
}
"""Kinds that a case has one picture of, in the order to show them, and their words."""
STRIP = {
    "noisy": "true mask with noise",
    "denoised": "denoised given the image",
    "blind": "denoised without the image",
}
"""Kinds that a diffusion model has a picture per noise level of."""


@dataclass(frozen=True)
class Picture:
    """One PNG."""

    png: bytes
    width: int
    """Pixels."""
    height: int
    alt: str
    """What it shows, in words."""
    log_snr: float | None
    """None but in a strip."""
    t: float | None


@dataclass(frozen=True)
class Sample:
    """What one trial made of one test case."""

    study: str
    task: str
    arm: str
    model: str
    mode: str
    cell: str
    digest: str
    case: str
    stills: dict[str, Picture]
    """By kind, in the order of :data:`STILLS`."""
    strip: dict[str, list[Picture]]
    """By kind, in the order of :data:`STRIP`, each from clean to noise; empty without diffusion."""


def samples(
    tables: Catalog, cells: Iterable[FinalCell] | None = None, most: int = 2
) -> list[Sample]:
    """Of each cell, or these, its first seed's pictures: ``most`` cases, in order of their names.

    Only the chosen trials' pictures are read; a trial without any has no sample.
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
    who = f"{cell.task}, {cell.arm.replace('_', ' ')}, {case}"

    def of(kind: str, words: str) -> list[Picture]:
        return [_picture(row, f"{who}: {words}") for row in rows if row["kind"] == kind]

    stills = {kind: made[0] for kind, words in STILLS.items() if (made := of(kind, words))}
    strip = {kind: made for kind, words in STRIP.items() if (made := of(kind, words))}
    return Sample(**cell.identity, digest=digest, case=case, stills=stills, strip=strip)


def _picture(row: dict[str, Any], alt: str) -> Picture:
    level = "" if row["log_snr"] is None else f" at log-SNR {row['log_snr']:.1f}"
    size = (row["width"], row["height"])
    return Picture(row["png"], *size, f"{alt}{level}", row["log_snr"], row["t"])
