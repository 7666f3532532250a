"""The parser of the command line: the verbs, and their options by group."""

from orchestrator.arguments._names import PASSED_ON, READERS, TABLE_FORMATS, VERBS
from orchestrator.arguments.parser import parser

__all__ = ["PASSED_ON", "READERS", "TABLE_FORMATS", "VERBS", "parser"]
