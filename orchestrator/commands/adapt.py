"""``segprint adapt``: a noise schedule made from a trained model's fingerprint, put to the test."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path
from pprint import pformat
from textwrap import fill
from typing import Any

from orchestrator.analyses import catalog
from orchestrator.commands.options import ledger_of
from orchestrator.fingerprint.adapted_schedule import INSIDE, Adapted, time_of
from orchestrator.fingerprint.probes import ProbeCurves, probe_curves
from orchestrator.report.adapted_schedule import schedule_figure
from trainables.part import unknown

REPLICATES = 3
PLAIN: dict[str, dict[str, Any]] = {"linear": {"linear": {}}, "cosine": {"cosine": {}}}
"""The schedules with which the adapted ones are compared."""


def main(options: Namespace) -> int:
    """Say what the fingerprint asks for and why; write the space that tests it."""
    adapted = Adapted(_chosen(options))
    if not adapted.bits.sum() > 0:
        raise ValueError(
            f"{_place(adapted)}: its image tells nothing, so there is nothing to follow"
        )
    task = re.sub(r"\W+", "_", adapted.probe.final.task)
    path = Path(options.output or f"adapted_{task}.py")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ValueError(f"-o {path}: a space is a .py file whose name is a plain word")
    for file in (path, path.with_suffix(".svg")):
        if file.exists():
            raise ValueError(f"{file} exists; choose another name with -o FILE.py")
    said = reasons(adapted)
    drawing = path.with_suffix(".svg")
    path.write_text(space(adapted), encoding="utf-8")
    drawing.write_text(schedule_figure(adapted, _schedules(adapted)), encoding="utf-8")
    if options.json:
        print(json.dumps({**said, "file": str(path), "picture": str(drawing)}, indent=1))
        return 0
    print("\n".join(sentences(said)))
    print(f"written: {path}, and why as a picture: {drawing}")
    print(f"what it would cost: segprint plan {path}")
    return 0


def _chosen(options: Namespace) -> ProbeCurves:
    """The one cell that is asked for.

    Raises:
        ValueError: there is no such study, task or cell, or there are several; names the choices.
    """
    ledger = ledger_of(options)
    known = ledger.studies.names(retired=True)
    if options.study not in known:
        raise unknown("study", options.study, known)
    probes = probe_curves(catalog(ledger, (options.study,)))
    complete = [probe.complete() for probe in probes if probe.axis == "log_snr"]
    found = [probe for probe in complete if len(probe.runs)]
    if not found:
        raise ValueError(
            f"study {options.study!r} has no finished final diffusion trial that was probed"
        )
    mine = [p for p in found if p.final.task == options.task]
    if not mine:
        raise unknown("task", options.task, sorted({p.final.task for p in found}))
    names = [p.final.cell for p in mine]
    if options.cell is None and len(mine) > 1:
        raise ValueError(
            f"study {options.study!r} has several diffusion models of {options.task}: choose one"
            f" with --cell (choices: {', '.join(names)})"
        )
    if options.cell is not None and options.cell not in names:
        raise unknown("cell", options.cell, names)
    return mine[names.index(options.cell) if options.cell is not None else 0]


def _place(adapted: Adapted) -> str:
    return f"{adapted.probe.final.study} {adapted.probe.final.cell}"


def _schedules(adapted: Adapted) -> dict[str, dict[str, Any]]:
    return {"trained": adapted.trained, **PLAIN, "adapted": adapted.schedule}


def reasons(adapted: Adapted) -> dict[str, Any]:
    """The numbers behind the schedule."""
    probe = adapted.probe
    schedules = _schedules(adapted)
    low, high = adapted.log_snr
    return {
        "study": probe.final.study,
        "cell": probe.final.cell,
        "task": probe.final.task,
        "seeds": probe.counts["seeds"],
        "images": probe.counts["images"],
        "bits_per_pixel": float(adapted.bits.sum()),
        "half": adapted.half,
        "measured": [float(probe.edges[0]), float(probe.edges[-1])],
        "log_snr": [low, high],
        "trained_with": next(iter(adapted.trained)),
        "t": list(adapted.times),
        "spent": {name: adapted.spent(schedule) for name, schedule in schedules.items()},
        "before_half": {
            name: 1 - time_of(schedule, adapted.half) for name, schedule in schedules.items()
        },
    }


def sentences(said: dict[str, Any]) -> list[str]:
    """The same to be read."""
    low, high = said["log_snr"]
    begin, end = said["t"]

    def each(name: str) -> str:
        return ", ".join(f"{schedule} {100 * v:.0f} %" for schedule, v in said[name].items())

    return [
        f"{said['study']} {said['cell']} (seeds: {said['seeds']}, tiles: {said['images']}): within"
        f" λ {said['measured'][1]:.1f} to {said['measured'][0]:.1f} the image tells"
        f" {said['bits_per_pixel']:.3f} bits per pixel, half of it below λ = {said['half']:.2f}.",
        f"{100 * INSIDE:.0f} % of it lies at λ from {high:.2f} to {low:.2f}: t from {begin:.3f} to"
        f" {end:.3f} of the {said['trained_with']} schedule that the model was trained with.",
        f"Timesteps within that range of λ: {each('spent')}.",
        f"Timesteps noisier than where half of it lies: {each('before_half')}.",
    ]


def space(adapted: Adapted) -> str:
    """A space's file: the model's own config under adapted, linear and cosine schedules."""
    cell, config = adapted.probe.final, dict(adapted.probe.final.config)
    config.pop("seed", None)
    diffusion = {**config["mode"]["diffusion"], "t_low": 0.0, "t_high": 1.0}
    diffusion.pop("schedule", None)
    config["mode"] = {"diffusion": diffusion}
    begin, end = adapted.times
    arms: dict[str, dict[str, Any]] = {
        name: {"mode.diffusion.schedule": schedule}
        for name, schedule in {
            "adapted": adapted.schedule,
            "adapted_root": adapted.root_schedule,
            **PLAIN,
        }.items()
    }
    arms["trained_range"] = {
        "mode.diffusion.schedule": adapted.trained,
        "mode.diffusion.t_low": begin,
        "mode.diffusion.t_high": end,
    }
    steps = config.get("train", {}).get("steps")
    told = [
        f"Is a schedule that follows its fingerprint good for {cell.task}? In pairs.",
        f"Made by `segprint adapt {cell.study} --task {cell.task} --cell {cell.cell}`."
        f" {' '.join(sentences(reasons(adapted)))}",
        "`adapted`: λ has the density of the information but for a tenth of the timesteps, which"
        " are spread evenly. `adapted_root`: the root of its second moment over cases."
        " `trained_range`: the schedule of the model, cut to that range; its sampler starts from"
        " noise where a trace of the mask should be. All arms have the model's network, training"
        " and seeds.",
        f"Cost: {len(arms) * REPLICATES} trials of {steps or 'as many'} steps, each as dear as the"
        " model's. Expect either answer: that the image tells something at a noise level is no"
        " promise that training there longer pays. The view `ablation` has the pairs.",
    ]
    text = "\n\n".join(fill(line, 98, break_long_words=False) for line in told)
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    question = f"Does a noise schedule made from its fingerprint help {cell.task}?"
    return (
        f'"""{text}\n"""\n\nfrom search_spaces import Space\n\n'
        f"CONFIG = {pformat(config, width=96, sort_dicts=False)}\n\n"
        f"ARMS = {pformat(arms, width=96, sort_dicts=False, compact=True)}\n\n"
        f"SPACE = Space(\n    question={question!r},\n    config=CONFIG,\n    arms=ARMS,\n"
        f"    replicates={REPLICATES},\n)\n"
    )
