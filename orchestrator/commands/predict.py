"""``segprint predict``: masks, probabilities and uncertainty of images, from kept weights."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

import torch

from cluster.local import usable_cpus
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import console, print_json, say
from orchestrator.formatting import clock, plural, printable
from orchestrator.prediction.inputs import find
from orchestrator.prediction.models import selected
from orchestrator.prediction.run import Predicted, Predictor


def main(options: Namespace) -> int:
    """Segment images; return 1 if one was skipped."""
    if options.threads is not None and options.threads < 1:
        raise ValueError(f"--threads {options.threads} must be at least 1")
    files = find(options.images)
    chosen = selected(ledger_of(options), options.what)
    torch.set_num_threads(options.threads or usable_cpus())
    folder = Path(options.output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(chosen, folder, options.trust)
    screen, began, ended = console(stderr=True), time.monotonic(), 0
    task, mode, seed = (chosen.trial[name] for name in ("task", "mode", "seed"))
    images = f"{plural(len(files), 'image')} on {', '.join(predictor.devices)}"
    screen.print(printable(f"{task}, {mode}, seed {seed} ({chosen.digest}): {images}"))

    def done(result: Predicted) -> None:
        nonlocal ended
        ended += 1
        left = (time.monotonic() - began) / ended * (len(files) - ended)
        for note in result.notes:
            screen.print(printable(f"{result.name}: {note}"))
        if result.problem is not None:
            text = f"skipped: {result.problem}"
        else:
            shares = ", ".join(f"{label} {share:.1%}" for label, share in result.shares.items())
            text = f"{shares}{' (predicted before)' if result.known else ''}"
        line = f"{ended} of {len(files)}  {result.name}: {text}"
        remaining = f"; about {clock(left)} left" if ended < len(files) else ""
        screen.print(printable(f"{line}{remaining}"), soft_wrap=True)

    found = predictor.predict(files, done)
    skipped = [result for result in found if result.problem is not None]
    if options.json:
        print_json([vars(result) for result in found])
    else:
        written = len(found) - len(skipped)
        images = plural(len(skipped), "image")
        say(f"{plural(written, 'mask')} in {folder}/masks, {images} skipped")
    return 1 if skipped else 0
