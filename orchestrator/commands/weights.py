"""``segprint weights``: list the kept weights, or export those of a trial."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from orchestrator.commands.options import ledger_of
from orchestrator.commands.output import emit, print_json, say, write_whole
from orchestrator.formatting import plural, size
from orchestrator.prediction.models import selected
from orchestrator.tables.needed_weights import needed_weights
from trainables.part import require


def main(options: Namespace) -> int:
    """Print one line per training, or write a file per network."""
    return _export(options) if options.action == "export" else _list(options)


def _list(options: Namespace) -> int:
    """Print the kept weights, and who needs them."""
    ledger = ledger_of(options)
    sizes, needed = ledger.weights.sizes(), needed_weights(ledger, strict=False)
    rows = [
        {"training": training, "bytes": count, "studies": ", ".join(needed.get(training, ()))}
        for training, count in sorted(sizes.items())
    ]
    emit(rows, None, options.json)
    if not options.json:
        say(f"\n{plural(len(rows), 'training')}, {size(sum(sizes.values()))}")
    return 0


def _export(options: Namespace) -> int:
    """Write the weights as safetensors, and beside them the JSON that rebuilds the network."""
    require(options.what is not None, "weights export needs a DIGEST or STUDY/ARM")
    require(options.output is not None, "weights export needs -o FILE.safetensors")
    chosen, output = selected(ledger_of(options), options.what), Path(options.output).expanduser()
    require(output.suffix == ".safetensors", f"-o {options.output!r} must be a file *.safetensors")
    rows: list[dict[str, Any]] = []
    for i, kept in enumerate(chosen.weights):
        number = f"-{i + 1}" if len(chosen.weights) > 1 else ""
        file = output.with_name(f"{output.stem}{number}{output.suffix}")
        write_whole(file, kept.tensors)
        content = {"trial": chosen.digest, "reading": json.loads(chosen.trial["config"])}
        text = json.dumps(content | json.loads(kept.header()), indent=1, sort_keys=True)
        write_whole(file.with_suffix(".json"), text.encode())
        rows.append({"file": str(file), "weights": kept.sha256, "bytes": len(kept.tensors)})
        if not options.json:
            say(f"{file}: weights {kept.sha256[:16]}, {size(len(kept.tensors))}")
    if options.json:
        print_json(rows)
    return 0
