"""The report in a browser: offline, without complaint, at a phone's width, by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from orchestrator.analyses import catalog
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import write_report
from orchestrator.statistics import paired_tests
from tests.browser.conftest import Open, Opened
from tests.unit.test_tables import commit_final

WIDTHS = (390, 1440)
MOST = 5_000_000
"""Bytes of a page."""


def empty(ledger: Ledger) -> None:
    del ledger


def one_trial(ledger: Ledger) -> None:
    commit_final(ledger, "1" * 16, "net", [(1, 1, 1)] * 2)


def without_probes(ledger: Ledger) -> None:
    commit_final(ledger, "0" * 16, "base", [(1, 1, 1)] * 2)


def only_failures(ledger: Ledger) -> None:
    for i, outcome in enumerate(("failed", "diverged")):
        trial = {"outcome": outcome, "task": "task", "reason": "<b>loss</b> is NaN", "steps": 3}
        ledger.commit(f"{i}" * 16, outcome, {"trials": [trial]})


def several(ledger: Ledger) -> None:
    """Four arms, three of them diffusion, two seeds each."""
    for i, arm in enumerate(("base", "linear", "cosine", "laplace")):
        for seed in (0, 1):
            counts = [(4 + i + k % 3, 1, 2 + seed) for k in range(6)]
            commit_final(ledger, f"{i}{seed}" * 8, arm, counts, seed)


def thousand(ledger: Ledger) -> None:
    for i in range(1000):
        commit_final(ledger, f"{i:016x}", f"arm_{i % 40}", [(1 + i % 7, 1, 1)] * 2, i // 40)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("fill", [empty, one_trial, without_probes, only_failures, several])
def test_it_opens_from_disk_without_a_complaint_or_a_request(
    fill: Any, width: int, ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    found = report(fill, ledger, tmp_path, opened, width)
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith(("file:", "data:"))] == []
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.page.locator("h2").count() >= 3


def test_a_page_is_short_until_its_folds_are_opened(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    write_page(several, ledger, tmp_path)
    found = opened(tmp_path / "report.html")
    height = "document.documentElement.scrollHeight"
    short = found.page.evaluate(height)
    assert short < 5000
    found.read()
    assert found.page.evaluate(height) > 1.3 * short


@pytest.mark.slow
def test_a_thousand_trials_are_a_page_that_can_be_sent(
    ledger: Ledger, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paired_tests, "PERMUTATIONS", (20, 20))  # of each of 780 pairs of arms
    found = report(thousand, ledger, tmp_path, opened)
    assert (tmp_path / "report.html").stat().st_size < MOST
    assert found.complaints == []


def test_a_series_is_switched_off_in_every_chart_of_its_section_by_keyboard(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    page = report(several, ledger, tmp_path, opened).page
    section = page.locator("section", has=page.locator("#fingerprints"))
    assert section.locator(".chart").count() == 4
    for chart in section.locator(".chart").all():
        assert drawn(chart) >= {"linear", "cosine", "laplace"}
    box = section.locator("input[data-series='cosine']")
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    for chart in section.locator(".chart").all():
        page.wait_for_function(
            "chart => !chart.innerHTML.includes('cosine;')", arg=chart.element_handle()
        )
        assert "cosine" not in drawn(chart)
        assert drawn(chart) >= {"linear", "laplace"}


def drawn(chart: Any) -> set[str]:
    """The series that have a mark: Vega describes each for those who do not see it."""
    labels = chart.locator(".mark-line path, .mark-symbol path[aria-label]").evaluate_all(
        "marks => marks.map(m => m.getAttribute('aria-label') || '')"
    )
    named = [label.partition("series: ")[2] for label in labels if "series: " in label]
    return {name.partition(";")[0] for name in named}


def test_hovering_a_point_tells_its_interval(ledger: Ledger, tmp_path: Path, opened: Open) -> None:
    page = report(several, ledger, tmp_path, opened).page
    section = page.locator("section", has=page.locator("#leaderboard"))
    section.locator(".mark-symbol path").first.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert "95 % interval from" in tooltip.inner_text()


def test_names_are_text_and_never_markup(ledger: Ledger, tmp_path: Path, opened: Open) -> None:
    page = report(only_failures, ledger, tmp_path, opened).page
    assert "<b>loss</b> is NaN" in page.locator("body").inner_text()


def test_it_follows_the_readers_theme_and_their_button(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    write_page(several, ledger, tmp_path)
    page = opened(tmp_path / "report.html", color_scheme="dark").page
    assert brightness(page) < 60
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    assert brightness(page) > 240
    page.emulate_media(media="print")
    assert brightness(page) > 240


def test_without_scripts_the_charts_are_there_all_the_same(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    write_page(several, ledger, tmp_path)
    page = opened(tmp_path / "report.html", java_script_enabled=False).page
    charts = page.locator(".chart")
    assert charts.count() >= 6
    assert page.locator(".chart svg .mark-symbol path, .chart svg .mark-line path").count() > 20


def test_what_the_browser_reads_aloud_says_what_a_chart_shows(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    page = report(several, ledger, tmp_path, opened).page
    for figure in page.locator("figure").all():
        label = figure.locator(".chart [aria-label], .chart[aria-label]").first
        assert len(label.get_attribute("aria-label") or "") > 20
        assert figure.locator("figcaption code").text_content()


def brightness(page: Page) -> float:
    """Of the page's background, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour[4:-1].split(",")[:3]) / 3


def write_page(fill: Any, ledger: Ledger, folder: Path) -> None:
    fill(ledger)
    write_report(catalog(ledger), folder / "report.html")


def report(fill: Any, ledger: Ledger, folder: Path, opened: Open, width: int = 1440) -> Opened:
    """The page about a ledger, read to its end."""
    write_page(fill, ledger, folder)
    found = opened(folder / "report.html", width)
    found.read()
    return found
