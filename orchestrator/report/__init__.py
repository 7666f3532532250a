"""The report of studies: one self-contained HTML page, and its charts and tables as files."""

from orchestrator.report.adapted_schedule import schedule_figure
from orchestrator.report.page import (
    LivePart,
    build_sections,
    render_inline,
    render_page,
    write_report,
)
from orchestrator.report.table_layout import TableLayout, read_layout

__all__ = [
    "LivePart",
    "TableLayout",
    "build_sections",
    "read_layout",
    "render_inline",
    "render_page",
    "schedule_figure",
    "write_report",
]
