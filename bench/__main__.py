"""Benchmarks, most of which compare two implementations in one run and print a ratio.

``python -m bench`` runs all; ``python -m bench NAME`` runs one, with its options after it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    known = sorted(p.stem for p in HERE.glob("*.py") if not p.stem.startswith("_"))
    options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    wanted = [argument for argument in sys.argv[1:] if argument not in options] or known
    for name in wanted:
        if name not in known:
            print(f"unknown benchmark {name!r} (choices: {', '.join(known)})", file=sys.stderr)
            return 2
        importlib.import_module(f"bench.{name}").main(*options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
