"""Executes the code cells of a notebook in one IPython shell, as a kernel does.

Prints one JSON list: what each cell displays, by MIME type. An error in a cell ends the process.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


def main(notebook: Path) -> None:
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    shown: list[dict[str, Any]] = []
    with contextlib.redirect_stdout(sys.stderr):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                result = shell.run_cell("".join(cell["source"]))
                result.raise_error()
                value = result.result
                shown.append({} if value is None else shell.display_formatter.format(value)[0])
    print(json.dumps(shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
