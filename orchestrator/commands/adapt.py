"""``segprint adapt``: a noise schedule from a model's fingerprint, and a space that tests it."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from pathlib import Path
from pprint import pformat
from textwrap import fill
from typing import Any

from orchestrator.analyses import catalog
from orchestrator.commands.options import ledger_of, program, require_study
from orchestrator.commands.output import print_json, say
from orchestrator.fingerprint.adapted_schedule import INSIDE, Adapted, time_of
from orchestrator.fingerprint.probes import ProbeCurves, probe_curves
from orchestrator.planning.same_name import check_no_cluster
from orchestrator.report.adapted_schedule import schedule_figure
from trainables.config import parse
from trainables.part import unknown
from trainables.trusted_files import only_trusted

REPLICATES = 3
PLAIN: dict[str, dict[str, Any]] = {"linear": {"linear": {}}, "cosine": {"cosine": {}}}
"""The schedules with which the adapted ones are compared."""


def main(options: Namespace) -> int:
    """Print the schedule that the fingerprint suggests; write the space that tests it."""
    with only_trusted(options.trust):
        return _adapt(options)


def _adapt(options: Namespace) -> int:
    adapted = Adapted(_chosen(options))
    if not adapted.bits.sum() > 0:
        raise ValueError(
            f"{_name(adapted)}: its image gives no information about the mask, so there is no"
            " schedule to derive"
        )
    task = re.sub(r"\W+", "_", adapted.probe.final.task)
    path = Path(options.output or f"adapted_{task}.py")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ValueError(f"-o {path}: a space is a .py file whose name is a Python identifier")
    check_no_cluster(path.stem)
    for file in (path, path.with_suffix(".svg")):
        if file.exists():
            raise ValueError(f"{file} exists; choose another name with -o FILE.py")
    parse(adapted.probe.final.config)  # the space would name the files that the config names
    numbers = reasons(adapted)
    figure = path.with_suffix(".svg")
    path.write_text(space(adapted), encoding="utf-8")
    figure.write_text(schedule_figure(adapted, _schedules(adapted)), encoding="utf-8")
    if options.json:
        print_json({**numbers, "file": str(path), "picture": str(figure)})
        return 0
    say("\n".join(sentences(numbers)))
    say(f"written: {path}, and a figure of the reasons: {figure}")
    say(f"its cost: {shlex.join([*program(options), 'plan', str(path)])}")
    return 0


def _chosen(options: Namespace) -> ProbeCurves:
    """Return the fingerprint of the cell that the options name.

    Raises:
        ValueError: there is no such study, task or cell, or there are several.
    """
    ledger = ledger_of(options)
    require_study(ledger, options.study)
    probes = probe_curves(catalog(ledger, (options.study,)))
    complete = [probe.complete() for probe in probes if probe.axis == "log_snr"]
    measured = [probe for probe in complete if len(probe.runs)]
    if not measured:
        raise ValueError(
            f"study {options.study!r} has no finished final diffusion trial that was probed"
        )
    of_task = [p for p in measured if p.final.task == options.task]
    if not of_task:
        raise unknown("task", options.task, sorted({p.final.task for p in measured}))
    names = [p.final.cell for p in of_task]
    if options.cell is None and len(of_task) > 1:
        raise ValueError(
            f"study {options.study!r} has several diffusion models of {options.task}: choose one"
            f" with --cell (choices: {', '.join(names)})"
        )
    if options.cell is not None and options.cell not in names:
        raise unknown("cell", options.cell, names)
    return of_task[names.index(options.cell) if options.cell is not None else 0]


def _name(adapted: Adapted) -> str:
    return f"{adapted.probe.final.study} {adapted.probe.final.cell}"


def _schedules(adapted: Adapted) -> dict[str, dict[str, Any]]:
    return {"trained": adapted.trained, **PLAIN, "adapted": adapted.schedule}


def reasons(adapted: Adapted) -> dict[str, Any]:
    """Return the numbers from which the schedule follows."""
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


def sentences(numbers: dict[str, Any]) -> list[str]:
    """Return the same as sentences."""
    low, high = numbers["log_snr"]
    begin, end = numbers["t"]

    def each(name: str) -> str:
        return ", ".join(f"{schedule} {100 * v:.0f} %" for schedule, v in numbers[name].items())

    return [
        f"{numbers['study']} {numbers['cell']} (seeds: {numbers['seeds']}, tiles:"
        f" {numbers['images']}): between λ = {numbers['measured'][1]:.1f} and"
        f" {numbers['measured'][0]:.1f} the image gives {numbers['bits_per_pixel']:.3f} bits per"
        f" pixel about the mask, half of it below λ = {numbers['half']:.2f}.",
        f"{100 * INSIDE:.0f} % of it lies at λ from {high:.2f} to {low:.2f}: t from {begin:.3f} to"
        f" {end:.3f} of the {numbers['trained_with']} schedule that the model was trained with.",
        f"Share of timesteps within that range of λ: {each('spent')}.",
        f"Share of timesteps at noisier levels than the half: {each('before_half')}.",
    ]


def _equal_information(adapted: Adapted) -> dict[str, Any]:
    """Return the fields of an arm whose sampler makes steps of equal image information."""
    from trainables.parsing import parse_part
    from trainables.part import plain  # torch takes a second to import

    given = adapted.probe.final.mode_settings.get("sampler", "ddim")
    ((name, fields),) = plain(parse_part("samplers", given)).items()
    spacing = {"spacing": "information", "quantiles": adapted.quantiles}
    return {"mode.diffusion.sampler": {name: {**fields, **spacing}}}


def space(adapted: Adapted) -> str:
    """Return the file of a space: the model's config with adapted, linear and cosine schedules."""
    cell, config = adapted.probe.final, dict(adapted.probe.final.config)
    config.pop("seed", None)
    trained = config["mode"]["diffusion"]
    diffusion = {**trained, "t_low": 0.0, "t_high": 1.0}
    diffusion.pop("schedule", None)
    config["mode"] = {"diffusion": diffusion}
    begin, end = adapted.times
    arms: dict[str, dict[str, Any]] = {
        name: {"mode.diffusion.schedule": schedule}
        for name, schedule in {
            "adapted": adapted.schedule,
            "adapted_root": adapted.root_schedule,
            "mask_information": adapted.mask_schedule,
            **PLAIN,
        }.items()
    }
    arms["trained_range"] = {
        "mode.diffusion.schedule": adapted.trained,
        "mode.diffusion.t_low": begin,
        "mode.diffusion.t_high": end,
    }
    arms["trained"] = {
        "mode.diffusion.schedule": adapted.trained,
        **{
            f"mode.diffusion.{key}": trained.get(key, diffusion[key]) for key in ("t_low", "t_high")
        },
    }
    arms["equal_information"] = {**arms["trained"], **_equal_information(adapted)}
    steps = config.get("train", {}).get("steps")
    paragraphs = [
        f"Does a schedule from its fingerprint help {cell.task}? Compared in pairs.",
        f"Written by `segprint adapt {cell.study} --task {cell.task}"
        f" --cell {cell.cell}`. {' '.join(sentences(reasons(adapted)))}",
        "`adapted`: nine tenths of the timesteps follow the density of the information over λ, the"
        " others are spread evenly. `adapted_root`: the same with the root of its second moment"
        " over cases. `mask_information`: the same with all information about the mask, as"
        " InfoNoise (arXiv 2602.18647) allocates it. `trained_range`: the schedule of the model,"
        " cut to that range; its sampler starts from pure noise, although a trace of the mask is"
        " left at that level. `trained`: the model itself. `equal_information`: the same weights,"
        " sampled at steps of equal image information. All arms have the model's network, training"
        " and seeds.",
        f"Cost: {len(arms) * REPLICATES} trials of {steps or 'as many'} steps, each as expensive as"
        " the model's; `trained` and `equal_information` share a training. Expect either answer:"
        " information at a noise level does not imply that more training there helps. The view"
        " `ablation` has the pairs.",
    ]
    text = "\n\n".join(fill(line, 98, break_long_words=False) for line in paragraphs)
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    question = f"Does a noise schedule made from its fingerprint help {cell.task}?"
    return (
        f'"""{text}\n"""\n\nfrom search_spaces import Space\n\n'
        f"CONFIG = {pformat(config, width=96, sort_dicts=False)}\n\n"
        f"ARMS = {pformat(arms, width=96, sort_dicts=False, compact=True)}\n\n"
        f"SPACE = Space(\n    question={question!r},\n    config=CONFIG,\n    arms=ARMS,\n"
        f"    replicates={REPLICATES},\n)\n"
    )
