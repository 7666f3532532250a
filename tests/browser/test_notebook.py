"""The frame that a notebook shows, in a browser: charts are visible and nothing stored can act."""

from __future__ import annotations

from pathlib import Path

from orchestrator.ledger.ledger import Ledger
from orchestrator.notebook.results import open_store
from orchestrator.report import render_inline
from orchestrator.report.blocks import Note, Section
from tests.browser.conftest import Open
from tests.browser.test_report import several


def test_a_frame_shows_its_charts_and_asks_for_nothing(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    several(ledger)
    page = tmp_path / "notebook.html"
    page.write_text(f"<p>cell</p>{open_store(ledger.store.url).figures('leaderboard').html}")
    found = opened(page)
    frame = found.page.frame_locator("iframe")
    assert frame.locator("table").first.is_visible()
    charts = frame.locator(".chart svg")
    assert charts.count() >= 2
    box = charts.first.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 100
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith(("file:", "data:", "about:"))] == []


def test_a_hostile_text_is_shown_and_not_run(tmp_path: Path, opened: Open) -> None:
    hostile = "<script>parent.document.title = 'hit'</script>\"'></iframe><b onclick='x'>"
    page = tmp_path / "notebook.html"
    html = render_inline([Section("s", "Title", [Note([hostile])])], hostile)
    page.write_text(f"<title>safe</title>{html}")
    found = opened(page)
    assert found.page.title() == "safe"
    assert found.page.locator("b").count() == 0
    assert hostile in found.page.frame_locator("iframe").locator("p.note").inner_text()
