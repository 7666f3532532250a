"""Sample predictions: images, true masks, each arm's predictions, denoising per noise level."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from orchestrator.heldout.final_cells import final_cells
from orchestrator.report.blocks import Block, Fold, Note, Picture, Section, Strip
from orchestrator.report.cell_names import CellNames, query, readable
from orchestrator.report.sample_images import LEVEL_KINDS, Sample, SampleImage, samples

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 90
MAX_ARMS = 6
"""Arms per task: the first on the leaderboard."""
VISIBLE = 0.02 * 255
"""The least mean grey level of a mask that shows anything."""
MAX_BYTES = 1_500_000
"""Images on the page, so that it can be sent by mail."""
BRIEF = (
    "One test case per task, not selected by result: the first of the recorded ones with at least"
    " 2 % of foreground, or else the one with the most. The arms are the first of the leaderboard,"
    f" {MAX_ARMS} at most; their predicted probability is white where it is ½ or more."
)
NOTE = (
    "The first test cases of each task by name (not selected by result), as predicted by the first"
    " seed of each arm. For an ensemble, the second image of an arm is the standard"
    " deviation over its members; for a single prediction p it is √(p(1 − p)), which is not"
    " comparable with it. White is ½ or more in both. Masks of several classes are shown in grey"
    " levels with a black background."
)
CASE_KINDS = {"image": "image", "truth": "true mask"}
"""Images that a case has once, not per arm."""


def section(tables: Catalog, names: CellNames) -> Section | None:
    """Return a strip per task, and folds with its other cases, uncertainty and denoising.

    The strip and the denoising show a case with foreground, if there is one.
    """
    order = {
        (row["study"], row["cell"]): place
        for place, row in enumerate(tables["leaderboard"].to_pylist())
    }
    cells = sorted(final_cells(tables), key=lambda cell: order.get(cell.key, len(order)))
    shown: list[Block] = []
    details: list[Block] = []
    total, omitted = 0, list[str]()
    for task in names.tasks:
        of_task = [cell for cell in cells if cell.task == task][:MAX_ARMS]
        task_samples = samples(tables, of_task)
        strips = list(_strips(tables, names, task, task_samples))
        size = sum(len(picture.png) for strip in strips for picture in strip.pictures)
        if total + size > MAX_BYTES:
            omitted.append(task)
        elif strips:
            total += size
            shown.append(_brief(names, task, task_samples))
            details.append(Fold(f"{readable(task)}: all cases, uncertainty, denoising", strips))
    if omitted:
        details.append(Note([f"Omitted to limit the size of the page: {', '.join(omitted)}."]))
    blocks: list[Block] = [Note([BRIEF]), *shown, *details, Fold("Method", [Note([NOTE])])]
    return Section("predictions", "Sample predictions", blocks) if shown or omitted else None


def _brief(names: CellNames, task: str, task_samples: list[Sample]) -> Strip:
    """Return image, true mask and every arm's mean, of the first case with enough foreground."""
    most = max(task_samples, key=_foreground)
    first = next((s for s in task_samples if _foreground(s) >= VISIBLE), most)
    pictures = [
        _picture(first.stills[kind], label)
        for kind, label in CASE_KINDS.items()
        if kind in first.stills
    ]
    pictures += [
        _picture(sample.stills["probability"], names(sample.study, sample.cell))
        for sample in task_samples
        if sample.case == first.case and "probability" in sample.stills
    ]
    return Strip(f"{readable(task)}, {first.case}", pictures)


def _source(tables: Catalog) -> str:
    return query(tables, "studies JOIN pictures USING (digest)", columns="cell, pictures.*")


def _strips(
    tables: Catalog, names: CellNames, task: str, task_samples: list[Sample]
) -> Iterator[Strip]:
    """Yield a strip per case, and the denoising of the task's best diffusion model."""
    source = _source(tables)
    spreads = _spread_names(tables)
    for case in dict.fromkeys(sample.case for sample in task_samples):
        of_case = [sample for sample in task_samples if sample.case == case]
        stills = of_case[0].stills
        pictures = [_picture(stills[k], label) for k, label in CASE_KINDS.items() if k in stills]
        for sample in of_case:
            arm = names(sample.study, sample.cell)
            labels = {"probability": "mean", "uncertainty": spreads[sample.digest]}
            pictures += [
                _picture(sample.stills[kind], f"{arm}: {label}")
                for kind, label in labels.items()
                if kind in sample.stills
            ]
        yield Strip(f"{readable(task)}, {case}", pictures, source)
    best_cell = next((sample.cell for sample in task_samples if sample.levels), None)
    if best_cell is not None:
        sample = max((s for s in task_samples if s.cell == best_cell), key=_foreground)
        title = f"{readable(task)}, {sample.case}, {names(sample.study, sample.cell)}"
        for kind, images in sample.levels.items():
            pictures = [
                _picture(image, f"λ {image.log_snr:.1f}, t {image.t:.2f}") for image in images
            ]
            yield Strip(f"{title}: {LEVEL_KINDS[kind]}", pictures, source)


def _foreground(sample: Sample) -> float:
    """Return the mean grey level of the true mask; an empty mask shows nothing of denoising."""
    truth = sample.stills.get("truth")
    return 0.0 if truth is None else float(np.asarray(Image.open(io.BytesIO(truth.png))).mean())


def _spread_names(tables: Catalog) -> dict[str, str]:
    """Return, by digest, the name of the measure of spread that a trial recorded."""
    names: dict[str, str] = {}
    for row in tables["trials"].select(["digest", "config"]).to_pylist():
        modes = json.loads(row["config"] or "{}").get("mode", {})
        members = max((fields.get("members", 1) for fields in modes.values()), default=1)
        names[row["digest"]] = f"SD of {members}" if members > 1 else "√(p(1 − p))"
    return names


def _picture(image: SampleImage, label: str) -> Picture:
    return Picture(image.png, image.alt, label)
