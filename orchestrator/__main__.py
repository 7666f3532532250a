"""``python -m orchestrator``: the command line without the script ``segprint``."""

import sys

from orchestrator.cli import main

if __name__ == "__main__":
    sys.exit(main())
