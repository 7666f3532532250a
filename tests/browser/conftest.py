"""A real browser, in which the report is opened from disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
DRAWN = """() => {
  for (const fold of document.querySelectorAll("details.fold")) fold.open = true;
  const chart = document.querySelector(".chart:not(.vega-embed)");
  if (chart) chart.scrollIntoView();
  return !chart;
}"""
"""Every chart is the interactive one: it is drawn as soon as a reader comes near."""


@dataclass
class Opened:
    """A page, and whatever it complained about or asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Scroll to the end, until every chart has been drawn."""
        self.page.wait_for_function(DRAWN)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield made
        made.close()


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open a file from disk, or an address, at a width in pixels."""
    pages: list[Page] = []

    def make(path: Path | str, width: int = 1440, **context: object) -> Opened:
        page = browser.new_page(viewport={"width": width, "height": 900}, **context)  # type: ignore[arg-type]
        pages.append(page)
        found = Opened(page)
        page.on("console", lambda message: found.complaints.append(message.text))
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on("request", lambda request: found.requests.append(request.url))
        page.goto(path if isinstance(path, str) else path.as_uri())
        return found

    yield make
    for page in pages:
        page.close()
