"""``segprint report --serve`` in a browser, and what it refuses."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.analyses import catalog
from orchestrator.ledger.declared import Declared
from orchestrator.ledger.ledger import Ledger
from orchestrator.report import write_report
from orchestrator.storage.object_store import Store
from tests.browser.conftest import Open
from tests.conftest import ROOT
from tests.unit.test_tables import CONFIG, commit_final
from trainables.training.run_status import RunStatus

PATIENCE = 120_000
"""Milliseconds until a page must show something."""
HOSTILE = "<img src=x onerror=document.title='hit'>"


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    ledger = Ledger(Store(str(tmp_path_factory.mktemp("live") / "store")))
    for seed in (0, 1):
        commit_final(ledger, f"{seed}" * 16, "base", [(4, 1, 2), (5, 1, 1)], seed)
    about = {"arm": "slow", "config": CONFIG, "values": {}}
    slot = Declared("study", "r1", "task_slow", "final", 0, "a" * 16)
    ledger.studies.declare(slot, about)  # type: ignore[arg-type]
    curve = ((10, 0.25), (20, 0.75))
    status = RunStatus(20, 80, 2.0, HOSTILE, "node7", 1, curve)
    ledger.leases.acquire(slot.digest, status)
    return ledger


@pytest.fixture(scope="module")
def address(ledger: Ledger) -> Iterator[str]:
    """A server as a user starts it; Ctrl-C ends it in order."""
    command = [sys.executable, "-m", "orchestrator.cli", "--store", ledger.store.url]
    server = subprocess.Popen(
        [*command, "report", "--serve"],
        cwd=Path(ledger.store.url).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[0]
        os.killpg(server.pid, signal.SIGINT)
        _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors) == (0, "")
    finally:
        server.kill()


def ask(address: str, path: str, method: str = "GET", body: str | None = None, **headers: str):
    """Send a request; return its response, read to the end."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=120)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


def test_new_commits_and_running_trials_appear_without_a_reload(
    address: str, ledger: Ledger, opened: Open
) -> None:
    found = opened(address)
    page = found.page
    page.set_default_timeout(PATIENCE)
    row = page.locator("#live-trials tbody tr")
    row.wait_for()
    for text in ("slow final 0", "20 of 80", "0.750", "2.00", "node7", HOSTILE):
        assert text in row.inner_text()
    points = page.locator("#live-curves .mark-symbol.role-mark path")
    points.first.wait_for()
    assert points.count() == 2
    page.evaluate("window.kept = true")
    board = page.locator("section", has=page.locator("#leaderboard"))
    assert "extra" not in board.inner_text()
    for seed in (0, 1):
        commit_final(ledger, f"{seed + 2}" * 16, "extra", [(9, 1, 1), (8, 1, 1)], seed)
    board.filter(has_text="extra").wait_for()
    chart = board.locator(".chart").first
    chart.scroll_into_view_if_needed()
    board.locator(".chart.vega-embed .mark-symbol.role-mark path").first.wait_for()
    assert page.evaluate("window.kept") is True
    assert page.title() != "hit"
    assert found.complaints == []
    assert {urlsplit(url).netloc for url in found.requests if url.startswith("http")} == {
        urlsplit(address).netloc
    }


def test_the_box_runs_one_select_and_shows_its_rows_as_text(address: str, opened: Open) -> None:
    found = opened(address)
    page = found.page
    page.set_default_timeout(PATIENCE)

    def run(sql: str) -> str:
        page.locator("#live-sql").fill(sql)
        page.locator("#live-query button").click()
        answer = page.locator("#live-said")
        answer.filter(has_not_text="Running").filter(has_text=re.compile(".")).wait_for()
        return answer.inner_text()

    page.locator("#live summary").click()
    assert run(f"SELECT '{HOSTILE.replace(chr(39), chr(39) * 2)}' AS x, 1 AS y") == "1 row"
    assert page.locator("#live-result th").all_inner_texts() == ["x", "y"]
    assert page.locator("#live-result td").all_inner_texts() == [HOSTILE, "1"]
    assert run("SELECT range FROM range(2000)") == "2000 rows, the first 500 shown"
    assert page.locator("#live-result tbody tr").count() == 500
    assert "exactly one SELECT" in run("SELECT 1; SELECT 2")
    assert "disabled" in run("SELECT * FROM read_text('/etc/passwd')")
    assert page.title() != "hit"
    assert found.complaints == []


def test_foreign_hosts_origins_and_tokens_are_refused(address: str) -> None:
    place = urlsplit(address)
    here = place.netloc
    assert ask(address, place.path).status == 200
    for path in ("/", "/page", f"/{'x' * 32}/", f"/{'x' * 32}/state"):
        refused = ask(address, path)
        assert (refused.status, "segprint" in refused.text.lower()) == (404, False)
    assert ask(address, place.path, Host=f"attacker.example:{place.port}").status == 403
    sql = json.dumps({"sql": "SELECT 1"})
    kind = {"Content-Type": "application/json"}
    query = f"{place.path}query"
    assert ask(address, query, "POST", sql, **kind, Origin="http://attacker.example").status == 403
    assert ask(address, query, "POST", sql, **{"Content-Type": "text/plain"}).status == 400
    assert ask(address, query, "POST", "x" * 100_000, **kind).status == 413
    assert ask(address, query, "POST", sql, **kind, Origin=f"http://{here}").status == 200


def test_the_page_runs_no_script_but_its_own_and_passes_no_token_on(address: str) -> None:
    one, two = (ask(address, urlsplit(address).path) for _ in range(2))
    policy = one.headers["Content-Security-Policy"]
    assert "script-src 'nonce-" in policy
    assert "unsafe-eval" not in policy
    assert policy != two.headers["Content-Security-Policy"]
    assert one.headers["Referrer-Policy"] == "no-referrer"
    assert one.headers["Cache-Control"] == "no-store"


def test_a_watched_page_is_read_again_although_nothing_is_missing(
    ledger: Ledger, tmp_path: Path, opened: Open
) -> None:
    tables = catalog(ledger, ("study",))
    write_report(tables, tmp_path / "report.html", refresh=1)
    page = opened(tmp_path / "report.html").page
    written = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").write_text(written.replace("<h1>study", "<h1>study again"))
    page.locator("h1").filter(has_text="again").wait_for(timeout=PATIENCE)


def test_it_listens_on_one_address_only(address: str) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", urlsplit(address).port or 0), timeout=10)
