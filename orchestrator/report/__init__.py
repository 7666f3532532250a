"""The report: one self-contained HTML page, and its charts and tables as files for a paper."""

from __future__ import annotations

import base64
import importlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jinja2
from markupsafe import Markup

from orchestrator.report import figure_files, rendering
from orchestrator.report.blocks import Block, Chart, Commands, Picture, Section, Strip, Table
from orchestrator.report.naming import Naming

if TYPE_CHECKING:
    from orchestrator.views.catalog import Catalog

HERE = Path(__file__).parent


def contents(tables: Catalog) -> list[Section]:
    """What there is to say."""
    naming = Naming(tables)
    files = (HERE / "sections").glob("[!_]*.py")
    modules = [importlib.import_module(f"{__name__}.sections.{path.stem}") for path in files]
    modules.sort(key=lambda module: module.PLACE)
    made = (module.section(tables, naming) for module in modules)
    return [section for section in made if section is not None]


def page(tables: Catalog, made: list[Section], refresh: int = 0) -> str:
    """The page; with ``refresh``, it asks the browser to read it again after so many seconds."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"svg": _svg, "spec": _spec, "image": _image, "runs": _runs}
    kinds = {"chart": Chart, "table": Table, "strip": Strip, "commands": Commands}
    tests = {name: lambda b, kind=kind: isinstance(b, kind) for name, kind in kinds.items()}
    environment.filters.update(filters)
    environment.tests.update(cast("Any", tests))
    return environment.get_template("page.html.j2").render(
        studies=tables.studies,
        questions=[q for study in tables.studies if (q := tables.ledger.studies.question(study))],
        sections=made,
        refresh=refresh,
        css=_ours((HERE / "page.css").read_text(encoding="utf-8")),
        js=_ours((HERE / "page.js").read_text(encoding="utf-8")),
        scripts=_ours(rendering.scripts()),
    )


def write(tables: Catalog, path: Path, folder: Path | None = None, refresh: int = 0) -> list[Path]:
    """Write the page, whole or not at all, and figures into ``folder``; returns the files."""
    made = contents(tables)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(tables, made, refresh), encoding="utf-8")
    temporary.replace(path)
    return [path, *(figure_files.write(made, folder) if folder else [])]


class _Run(NamedTuple):
    charts: bool
    blocks: list[Block]


def _runs(section: Section) -> Iterator[_Run]:
    """Charts that follow each other share a grid."""
    for charts, blocks in itertools.groupby(section.blocks, lambda b: isinstance(b, Chart)):
        yield _Run(charts, list(blocks))


def _ours(text: str) -> Markup:
    return Markup(text.replace("</script", "<\\/script"))  # noqa: S704 - our own files


def _svg(chart: Chart) -> Markup:
    return Markup(rendering.small(chart.svg()))  # noqa: S704 - Vega escapes its texts


def _spec(chart: Chart) -> Markup:
    text = json.dumps(chart.full, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - JSON without a tag in it


def _image(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
