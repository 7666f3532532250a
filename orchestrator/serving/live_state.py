"""The content of the live report: the page of the last commits, and the trials that run."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from orchestrator.analyses import catalog
from orchestrator.formatting import clock, printable_within, significant
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning import trial_state
from orchestrator.planning.running_trials import RunningTrial, running_trials
from orchestrator.report import LivePart, build_sections, render_page

HERE = Path(__file__).parent
LOOK_SECONDS = 3.0
"""Pause between two looks at the store."""
LARGEST_SHARE = 0.1
"""The largest share of the time that looks may take; the pause is longer where they are slow."""

log = logging.getLogger("segprint.serving")


@dataclass(frozen=True)
class Look:
    """What a look at the store found."""

    version: str
    """Changes with the declared and the committed trials."""
    running: list[dict[str, Any]]


@dataclass
class LiveState:
    """The latest page and the running trials of some studies; all of them if none is named."""

    ledger: Ledger
    studies: tuple[str, ...]
    page: str = ""
    """The page as HTML, with :attr:`placeholder` in place of the nonce of its scripts."""
    version: str = ""
    """The version of the page."""
    newest: str = ""
    """The version of the store; the page is being renewed while it differs."""
    running: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    problem: str | None = None
    """Why the last look at the store failed."""
    placeholder: str = field(default_factory=lambda: secrets.token_hex(16))

    async def follow(self) -> None:
        """Look at the store again and again, and renew the page when it has changed."""
        while True:
            began = time.monotonic()
            await self.look()
            taken = time.monotonic() - began
            await asyncio.sleep(max(LOOK_SECONDS, taken / LARGEST_SHARE))

    async def look(self) -> None:
        """Look at the store once; an error is kept as :attr:`problem`, and the page stays."""
        try:
            seen = await asyncio.to_thread(self._seen)
            self.running, self.newest = seen.running, seen.version
            if seen.version != self.version:
                self.page = await asyncio.to_thread(self._render, seen.version)
                self.version = seen.version
            self.problem = None
        except Exception as error:  # whatever it is, the server goes on and the page names it
            self.problem = f"{type(error).__name__}: {error}"
            log.warning("segprint: the live report is not renewed for now: %s", error)

    def plain(self) -> dict[str, Any]:
        """Return what the page in the browser asks for."""
        updating = self.version != self.newest
        state = {"version": self.version, "updating": updating, "problem": self.problem}
        return printable_within({**state, "running": self.running})

    def _seen(self) -> Look:
        """Return the version of the store and its running trials."""
        ledger, digest = self.ledger, hashlib.sha256()
        commits, leases = ledger.commits(), ledger.leases.all()
        running: list[dict[str, Any]] = []
        for study in self.studies or ledger.studies.names():
            declared = ledger.studies.current(study)
            ended = set[str]()
            for slot in declared:
                commit = commits.get(slot.digest)
                digest.update(f"{slot.key} {commit}\n".encode())
                if commit is not None and trial_state.counts_as_done(commit.outcome, slot.stage):
                    ended.add(slot.key)
            prefix = "" if len(self.studies) == 1 else f"{study}: "
            trials = running_trials(ledger, declared, ended, leases)
            running += [_row(trial, prefix) for trial in trials]
        return Look(digest.hexdigest()[:16], running)

    def _render(self, version: str) -> str:
        tables = catalog(self.ledger, self.studies)
        text, style, script = (
            (HERE / f"live.{suffix}").read_text(encoding="utf-8")
            for suffix in ("html", "css", "js")
        )
        live = LivePart(
            nonce=self.placeholder,
            html=Markup(text).format(version=version),  # noqa: S704 - a file of this package
            css=style,
            js=script,
        )
        return render_page(tables, build_sections(tables), live=live)


def _row(trial: RunningTrial, prefix: str) -> dict[str, Any]:
    """Return a running trial as the page shows it."""
    status = trial.status
    return {
        "name": f"{prefix}{trial.name}",
        "step": None if status.steps is None else f"{status.step} of {status.steps}",
        "score": None if status.score is None else f"{status.score:.3f}",
        "left": trial.time_left if trial.alive else "interrupted",
        "speed": significant(status.steps_per_second),
        "place": ", ".join(filter(None, (status.device.partition(" (")[0], status.host))),
        "sign": f"{clock(trial.age)} ago",
        "curve": [{"step": step, "score": score} for step, score in status.curve],
    }
