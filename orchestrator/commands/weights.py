"""``segprint weights``: list, export and import the weights of trained networks."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import search_spaces
from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, print_json, say
from orchestrator.commands.run import chosen
from orchestrator.formatting import plural, size
from orchestrator.planning.validation import check
from orchestrator.prediction.models import selected
from orchestrator.prediction.weight_files import WrittenFile, selected_import, write_weights
from orchestrator.tables.needed_weights import needed_weights
from trainables.part import require
from trainables.training.published import imported


def main(options: Namespace) -> int:
    """Print one line per training, or write a file per network."""
    return {"ls": _list, "export": _export, "import": _import}[options.action](options)


def _list(options: Namespace) -> int:
    """Print the kept weights, and who needs them."""
    require(options.what is None, f"weights ls lists all trainings; {options.what!r} is not taken")
    ledger = ledger_of(options)
    sizes = ledger.weights.sizes()
    needed = needed_weights(ledger, strict=False) if sizes else {}
    rows = [
        {"training": training, "bytes": count, "studies": ", ".join(needed.get(training, ()))}
        for training, count in sorted(sizes.items())
    ]
    emit(rows, None, options.json, every=options.all)
    if not options.json:
        say("\n" * bool(rows) + f"{plural(len(rows), 'training')}, {size(sum(sizes.values()))}")
    return 0


def _export(options: Namespace) -> int:
    """Write the weights as safetensors, and beside them the JSON that rebuilds the network."""
    require(options.what is not None, "weights export needs a DIGEST or STUDY/ARM")
    file = _output(options)
    _print(options, write_weights(selected(ledger_of(options), options.what), file))
    return 0


def _import(options: Namespace) -> int:
    """Write the weights of a published checkpoint as ``export`` does."""
    require(options.what is not None, "weights import needs the FILE of a published checkpoint")
    require(options.config is not None, "weights import needs --config SPACE, see docs/weights.md")
    file, source = _output(options), Path(options.what).expanduser()
    _, space = search_spaces.load(options.config)
    config = chosen(check(space), options.cell, options.set)
    found = imported(source, config, _numbers(options.mean), _numbers(options.std))
    about = {"imported": {"file": source.name, "sha256": found.source}}
    _print(options, write_weights(selected_import(found), file, about))
    if found.drawn and not options.json:
        say(
            f"the checkpoint has no {' and '.join(found.drawn)}: the original draws them at every"
            " pass, here they are drawn once with the config's seed"
        )
    return 0


def _output(options: Namespace) -> Path:
    require(options.output is not None, f"weights {options.action} needs -o FILE.safetensors")
    return Path(options.output).expanduser()


def _numbers(text: str | None) -> list[float]:
    """Return the numbers in a comma-separated text."""
    try:
        return [float(number) for number in text.split(",")] if text is not None else []
    except ValueError:
        raise ValueError(f"{text!r} must be numbers joined by commas, e.g. 123.7,116.3") from None


def _print(options: Namespace, written: list[WrittenFile]) -> None:
    if options.json:
        print_json(
            [
                {"file": str(file), "weights": kept.sha256, "bytes": len(kept.tensors)}
                for file, kept in written
            ]
        )
        return
    for file, kept in written:
        say(f"{file}: weights {kept.sha256[:16]}, {size(len(kept.tensors))}")
