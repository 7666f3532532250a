"""Builds the sections of the report and renders them as one self-contained HTML page."""

from __future__ import annotations

import base64
import importlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from orchestrator.formatting import printable
from orchestrator.report import figure_files, rendering, summary
from orchestrator.report.blocks import (
    Block,
    Chart,
    Commands,
    Fold,
    Heading,
    Picture,
    Section,
    Strip,
    Table,
)
from orchestrator.report.cell_names import CellNames
from orchestrator.report.paper_tables import paper_tables
from orchestrator.report.table_layout import TableLayout
from orchestrator.storage.local_files import place
from trainables.part import unknown

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

HERE = Path(__file__).parent
FRAME_PIXELS = 640
"""The height of a frame in a notebook, which scrolls."""
KINDS: dict[str, type] = {
    "chart": Chart,
    "table": Table,
    "strip": Strip,
    "heading": Heading,
    "commands": Commands,
    "fold": Fold,
}
"""The template's tests for the kinds of blocks."""


def section_names() -> list[str]:
    """Return the names of all sections, sorted."""
    return sorted(f.stem for f in (HERE / "sections").glob("[!_]*.py"))


def build_sections(tables: Catalog, chosen: Sequence[str] = ()) -> list[Section]:
    """Return the sections for which the store holds data, in their order on the page.

    ``chosen`` are their names; none stands for all.

    Raises:
        ValueError: there is no such section.
    """
    choices = section_names()
    for name in chosen:
        if name not in choices:
            raise unknown("section", name, choices)
    names = CellNames(tables)
    listed = chosen or choices
    modules = [importlib.import_module(f"orchestrator.report.sections.{name}") for name in listed]
    modules.sort(key=lambda module: module.PLACE)
    sections = (module.section(tables, names) for module in modules)
    return [section for section in sections if section is not None]


class LivePart(NamedTuple):
    """What a served page has besides: a part at its top, and the nonce of all scripts."""

    nonce: str
    html: Markup
    css: str
    js: str
    """A script that runs before those of the page."""


def render_page(
    tables: Catalog, sections: list[Section], refresh: int = 0, live: LivePart | None = None
) -> str:
    """Return the page as HTML; it reloads itself every ``refresh`` seconds if this is positive."""
    questions = (tables.ledger.studies.question(study) for study in tables.studies)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            studies=tables.studies,
            findings=summary.findings(tables, CellNames(tables)),
            progress=summary.progress(tables),
            questions=[question for question in questions if question],
            sections=sections,
            refresh=refresh,
            css=_trusted((HERE / "page.css").read_text(encoding="utf-8")),
            js=_trusted((HERE / "page.js").read_text(encoding="utf-8")),
            scripts=_trusted(rendering.scripts()),
            live=live._replace(css=_trusted(live.css), js=_trusted(live.js)) if live else None,
        )
    )


def render_inline(sections: list[Section], title: str) -> str:
    """Return sections as an HTML element for a notebook: a frame without scripts.

    The frame separates the page's styles from the notebook's, and its sandbox runs no script.
    """
    template = _environment().get_template("inline.html.j2")
    css = _trusted((HERE / "page.css").read_text(encoding="utf-8"))
    page = template.render(title=title, sections=sections, css=css)
    return (
        f'<iframe sandbox title="{escape(printable(title))}" srcdoc="{escape(page)}"'
        f' style="width: 100%; height: {FRAME_PIXELS}px; border: 0"></iframe>'
    )


def write_report(
    tables: Catalog,
    path: Path,
    figures: Path | None = None,
    refresh: int = 0,
    layout: TableLayout | None = None,
) -> list[Path]:
    """Write the page atomically, and its figures into a folder; return the paths of the files.

    ``layout`` is that of the tables for a paper, which are written with the figures.

    Raises:
        ValueError: the layout names what the studies do not have.
    """
    printed = paper_tables(tables, CellNames(tables), layout) if figures else []
    sections = build_sections(tables)
    place(path, render_page(tables, sections, refresh).encode(), replace=True)
    if figures is None:
        return [path]
    return [path, *figure_files.write_figures(sections, printed, figures)]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"svg": _svg, "spec": _spec, "image": _image, "runs": _runs}
    tests: dict[str, Any] = {name: _is_a(kind) for name, kind in KINDS.items()}
    environment.filters.update(filters)
    environment.tests.update(tests)
    return environment


def _shown(value: Any) -> Any:
    """Return a value of the template with escapes in place of control characters."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, keep="\n\t")
    return value


def _is_a(kind: type) -> Callable[[Block], bool]:
    return lambda block: isinstance(block, kind)


class _Run(NamedTuple):
    """Consecutive blocks that are all charts of one size, or all other blocks."""

    grid: str
    """The class of the charts' grid; empty for other blocks."""
    blocks: list[Block]


def _runs(section: Section | Fold) -> Iterator[_Run]:
    """Group consecutive charts of one size, which share a grid on the page."""
    for grid, blocks in itertools.groupby(section.blocks, _grid):
        yield _Run(grid, list(blocks))


def _grid(block: Block) -> str:
    if not isinstance(block, Chart):
        return ""
    return "small grid" if block.small else "grid"


def _trusted(text: str) -> Markup:
    return Markup(text.replace("</script", "<\\/script"))  # noqa: S704 - files of this package


def _svg(chart: Chart) -> Markup:
    return Markup(rendering.compact(chart.svg()))  # noqa: S704 - Vega escapes its texts


def _spec(chart: Chart) -> Markup:
    text = json.dumps(chart.full, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - JSON without a tag in it


def _image(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
