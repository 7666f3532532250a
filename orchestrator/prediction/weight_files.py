"""Trained models as files: weights as safetensors, and beside each the JSON that rebuilds it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.prediction.selected import Selected
from orchestrator.provenance import code_version
from orchestrator.storage.local_files import place
from trainables.part import require
from trainables.schemas import Row
from trainables.training.published import Imported
from trainables.training.trained import Trained, WeightsError

SUFFIX = ".safetensors"
MOST_JSON = 1 << 26
"""Bytes of the largest JSON that is read."""
RECORD = ("training", "config", "versions", "data", "record", "sha256")
"""Fields of the record of weights in the JSON."""
TRIAL = re.compile(r"(imported-)?[0-9a-f]{16}")
"""The name of a trial."""


class WrittenFile(NamedTuple):
    """A file of weights."""

    file: Path
    trained: Trained


def write_weights(
    chosen: Selected, file: Path, further: Mapping[str, Any] | None = None
) -> list[WrittenFile]:
    """Write a file per network, numbered if there are several, each with its JSON.

    ``further`` are more fields of the JSON.

    Raises:
        ValueError: the name of the file does not end with ``.safetensors``.
    """
    require(file.suffix == SUFFIX, f"-o {str(file)!r} must be a file *{SUFFIX}")
    written: list[WrittenFile] = []
    for i, kept in enumerate(chosen.weights):
        path = _numbered(file, i + 1) if len(chosen.weights) > 1 else file
        place(path, kept.tensors, replace=True)
        content = {
            "trial": chosen.digest,
            "reading": json.loads(chosen.trial["config"]),
            "code": chosen.trial["code"],
            **(further or {}),
            **json.loads(kept.header()),
        }
        text = json.dumps(content, indent=1, sort_keys=True)
        place(path.with_suffix(".json"), text.encode(), replace=True)
        written.append(WrittenFile(path, kept))
    return written


def read_weights(file: Path) -> Selected:
    """Read what :func:`write_weights` wrote under this name.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    files = [file]
    if not file.exists():
        numbers = range(1, len(list(file.parent.glob(f"*{SUFFIX}"))) + 1)
        files = [path for n in numbers if (path := _numbered(file, n)).exists()]
    if not files:
        raise WeightsError(f"{file}: there is no such file")
    parsed = [_read(path) for path in files]
    return Selected(parsed[0][0], tuple(trained for _, trained in parsed))


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.stem}-{number}{file.suffix}")


def _read(file: Path) -> tuple[Row, Trained]:
    """Return a row with the columns of ``trials`` that a prediction needs, and the weights."""
    about = file.with_suffix(".json")
    if not about.exists():
        raise WeightsError(
            f"{file}: there is no {about.name} beside it, which says what network it is; a"
            " published checkpoint needs `segprint weights import`"
        )
    require(about.stat().st_size <= MOST_JSON, f"{about}: larger than {MOST_JSON} bytes")
    try:
        content: dict[str, Any] = json.loads(about.read_bytes())
        reading: dict[str, Any] = content["reading"]
        if not TRIAL.fullmatch(content["trial"]) or not isinstance(content["config"], dict):
            raise TypeError("its trial must be a digest, and its config an object")
        row = {
            "digest": content["trial"],
            "config": json.dumps(reading),
            "code": str(content.get("code", "unknown")),
            "task": str(content["data"]["task"]),
            "mode": next(iter(reading["mode"]), ""),
            "seed": reading["seed"],
        }
        fields = {name: content[name] for name in RECORD}
        trained = Trained.parse(json.dumps(fields).encode(), file.read_bytes())
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        if isinstance(error, WeightsError):
            raise WeightsError(f"{file}: {error}") from None
        raise WeightsError(
            f"{about}: is not what `segprint weights export` writes: {type(error).__name__}:"
            f" {error}"
        ) from None
    return row, trained


def selected_import(found: Imported) -> Selected:
    """Return imported weights as a trial that can predict.

    Its name is not a digest: it hashes the weights, the config and the normalisation.
    """
    content = json.loads(found.trained.header())
    identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    config = found.trained.config
    row = {
        "digest": f"imported-{identity[:16]}",
        "config": json.dumps(config, sort_keys=True),
        "code": code_version(),
        "task": found.trained.data["task"],
        "mode": next(iter(config["mode"])),
        "seed": config["seed"],
    }
    return Selected(row, (found.trained,))
