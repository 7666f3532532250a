"""Sample predictions: an image, its mask, what each arm made of it, and how noise took it apart."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from orchestrator.heldout.final_cells import final_cells
from orchestrator.report.blocks import Block, Note, Section, Strip
from orchestrator.report.blocks import Picture as Shown
from orchestrator.report.naming import Naming, query, spaced
from orchestrator.report.sample_images import STRIP, Picture, Sample, samples

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

PLACE = 90
ARMS = 6
"""Arms per task: the first of the leaderboard."""
BUDGET = 1_500_000
"""Bytes of pictures: the page is to stay one that can be sent."""
TOLD = (
    "The first test cases of each task, by the first seed of each arm; chosen by name, not by how"
    " well they came out. Of an ensemble, its mean and the standard deviation over its members; of"
    " a single prediction p, √(p(1 − p)) instead, which is another thing: compare spreads with"
    " spreads. White is ½ there. Masks of several classes are in greys, the background black."
)


def section(tables: Catalog, naming: Naming) -> Section | None:
    """Per task, cases side by side; then the strip of its best diffusion model, of the case with
    more foreground.
    """
    order = {
        (row["study"], row["cell"]): place
        for place, row in enumerate(tables["leaderboard"].to_pylist())
    }
    cells = sorted(final_cells(tables), key=lambda cell: order.get(cell.key, len(order)))
    blocks: list[Block] = [Note([TOLD])]
    spent, left_out = 0, list[str]()
    for task in naming.tasks:
        mine = [cell for cell in cells if cell.task == task][:ARMS]
        made = list(_strips(tables, naming, task, samples(tables, mine)))
        size = sum(len(p.png) for strip in made for p in strip.pictures)
        if spent + size > BUDGET:
            left_out.append(task)
            continue
        spent += size
        blocks += made
    if left_out:
        blocks.append(Note([f"Left out, for the page's size: {', '.join(left_out)}."]))
    return Section("predictions", "Sample predictions", blocks) if len(blocks) > 1 else None


def _strips(tables: Catalog, naming: Naming, task: str, found: list[Sample]) -> Iterator[Strip]:
    source = query(tables, "studies JOIN pictures USING (digest)", columns="cell, pictures.*")
    spreads = _spreads(tables)
    for case in dict.fromkeys(sample.case for sample in found):
        mine = [sample for sample in found if sample.case == case]
        shown = [_shown(mine[0].stills[k], w) for k, w in FIRST.items() if k in mine[0].stills]
        for sample in mine:
            name = naming(sample.study, sample.cell)
            words = {"probability": "mean", "uncertainty": spreads[sample.digest]}
            shown += [
                _shown(sample.stills[kind], f"{name}: {word}")
                for kind, word in words.items()
                if kind in sample.stills
            ]
        yield Strip(f"{spaced(task)}, {case}", shown, source)
    best = next((sample.cell for sample in found if sample.strip), None)
    if best is not None:
        model = max((s for s in found if s.cell == best), key=_foreground)
        name = naming(model.study, model.cell)
        for kind, pictures in model.strip.items():
            shown = [_shown(p, f"λ {p.log_snr:.1f}, t {p.t:.2f}") for p in pictures]
            yield Strip(f"{spaced(task)}, {model.case}, {name}: {STRIP[kind]}", shown, source)


def _foreground(sample: Sample) -> float:
    """Grey of the true mask: of an empty one, noise has nothing to take apart."""
    truth = sample.stills.get("truth")
    return 0.0 if truth is None else float(np.asarray(Image.open(io.BytesIO(truth.png))).mean())


FIRST = {"image": "image", "truth": "true mask"}


def _spreads(tables: Catalog) -> dict[str, str]:
    """What the spread of each trial's predictions is, by its digest."""
    found: dict[str, str] = {}
    for row in tables["trials"].select(["digest", "config"]).to_pylist():
        modes = json.loads(row["config"] or "{}").get("mode", {})
        members = max((fields.get("members", 1) for fields in modes.values()), default=1)
        found[row["digest"]] = f"spread of {members}" if members > 1 else "√(p(1 − p))"
    return found


def _shown(picture: Picture, label: str) -> Shown:
    return Shown(picture.png, picture.alt, label)
