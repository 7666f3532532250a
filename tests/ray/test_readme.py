"""The README's commands, run as written on a miniature quickstart, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.analyses import open_store
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.object_store import Store
from orchestrator.views.catalog import Catalog
from tests.conftest import ROOT
from tests.docs.pages import blocks, read
from trainables.config import parse
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
BIN = Path(sys.executable).parent


@dataclass
class Ran:
    """A directory in which the README's commands were run."""

    folder: Path
    output: dict[str, str] = field(default_factory=dict[str, str])
    listening: set[str] = field(default_factory=set[str])

    @property
    def tables(self) -> Catalog:
        return open_store(str(self.folder / "results"), "quickstart")

    @property
    def two_workers(self) -> str:
        """The digest of the trial that two workers trained."""
        (row,) = self.tables.sql("SELECT digest FROM trials WHERE world_size = 2").to_pylist()
        return row["digest"]


def readme_commands() -> list[str]:
    """Lines of the README's sh blocks; ``make demo`` stands for its recipe."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    demo = [
        line.strip().replace("$(BIN)/", "").replace("$(STORE)", "results")
        for line in recipe[1].splitlines()
    ]
    lines: list[str] = []
    for block in blocks(read("README.md")):
        for command in block.commands if block.language == "sh" else []:
            if command == "make demo":
                lines += demo
            elif not command.startswith("make "):
                lines.append(command)
    return lines


def miniature(command: str) -> str:
    """The same command on the miniature; a study's name stays, a space's becomes its file."""
    taking_a_space = r"(show|plan|run|sweep|--format optuna) quickstart"
    command = command.replace("nuclei_feedforward nuclei", "feedforward synthetic")
    return re.sub(taking_a_space, r"\1 ./quickstart.py", command)


def sockets_of(mark: str) -> set[str]:
    """The sockets of all processes that have a text in their environment."""
    found: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if mark.encode() in (process / "environ").read_bytes():
                found |= {os.readlink(fd) for fd in (process / "fd").iterdir()}
    return found


def listening(mark: str) -> set[str]:
    """Addresses, in hexadecimal, on which such processes listen."""
    sockets = sockets_of(mark)
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in sockets:
                found.add(columns[1])
    return found


def on_loopback(address: str) -> bool:
    v4_mapped = address.removeprefix("0000000000000000FFFF0000")
    return v4_mapped.startswith(("0100007F", "0" * 24 + "01000000"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    made = Ran(tmp_path_factory.mktemp("readme"))
    space = Path(__file__).with_name("space_quickstart.py")
    (made.folder / "quickstart.py").write_text(space.read_text())
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "README_RUN": str(made.folder)}
    for command in readme_commands():
        log = made.folder / "log"
        written = miniature(command)
        if "DIGEST" in written:
            written = written.replace("DIGEST", made.two_workers)
        with log.open("w") as out:
            process = subprocess.Popen(
                written,
                shell=True,
                cwd=made.folder,
                env=env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                while process.poll() is None:
                    made.listening |= listening(f"README_RUN={made.folder}")
                    time.sleep(0.5)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        made.output[command] = log.read_text()
        # The miniature has an arm that diverges on purpose: a sweep says so by its exit code.
        expected = 1 if " sweep " in f" {command} " else 0
        assert process.returncode == expected, f"{command}\n{made.output[command][-3000:]}"
    return made


def test_the_readme_runs_the_demo_and_every_verb() -> None:
    verbs = {re.sub(r"--store \S+ ", "", c).split()[1] for c in readme_commands()}
    results = {"status", "query", "compare", "fingerprint", "report", "predict"}
    assert verbs == results | {"ls", "plan", "sweep", "run", "doctor"}


def test_the_study_is_complete_with_every_outcome_where_it_belongs(ran: Ran) -> None:
    trials = {r["digest"]: r for r in ran.tables["trials"].to_pylist()}
    studies = ran.tables["studies"].to_pylist()
    finals = {r["arm"]: trials[r["digest"]] for r in studies if r["stage"] == "final"}
    assert {arm: t["outcome"] for arm, t in finals.items()} == {
        "grey_level": "finished",
        "feedforward": "finished",
        "diverging": "diverged",
        "diffusion": "finished",
    }
    searched = [trials[r["digest"]]["outcome"] for r in studies if r["stage"] == "search"]
    assert len(searched) == 4
    assert set(searched) <= {"finished", "pruned"}
    assert "at step" in finals["diverging"]["reason"]


def test_the_final_diffusion_trial_was_trained_by_two_workers(ran: Ran) -> None:
    rows = ran.tables.sql(
        "SELECT t.world_size, t.config, t.digest FROM trials t JOIN studies s USING (digest)"
        " WHERE s.stage = 'final' AND s.arm = 'diffusion'"
    ).to_pylist()
    assert [row["world_size"] for row in rows] == [2]
    alone = train(parse(json.loads(rows[0]["config"])), WorkerContext())
    progress = list(alone)
    steps = ran.tables.sql(
        f"SELECT loss_sum, score_sum FROM steps WHERE digest = '{rows[0]['digest']}' ORDER BY step"
    ).to_pylist()
    # Two workers share the very batches that one would see.
    for theirs, mine in zip(steps, progress[-1].history, strict=True):
        assert theirs["loss_sum"] == pytest.approx(mine["loss_sum"], rel=1e-3)
        assert theirs["score_sum"] == pytest.approx(mine["score_sum"], abs=0.05)


def test_one_worker_finds_again_what_two_workers_found(ran: Ran) -> None:
    said = ran.output["segprint run DIGEST"]
    assert "workers: 1 here, was 2" in said
    assert f"{ran.two_workers}: reproduced" in said


def test_nothing_listened_beyond_loopback(ran: Ran) -> None:
    assert ran.listening
    assert all(on_loopback(address) for address in ran.listening)


def test_the_end_of_a_sweep_shows_the_leaderboard(ran: Ran) -> None:
    (sweep,) = (
        v for k, v in ran.output.items() if k.startswith("segprint --store") and "sweep" in k
    )
    assert "Dice [95 %]" in sweep
    assert "left, about" in sweep
    assert "Traceback" not in sweep


def test_the_report_is_self_contained_and_the_same_each_time(ran: Ran) -> None:
    page = (ran.folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert '<th scope="row">diverged</th>' in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    outside = re.findall(r"""(?:src|href)\s*=\s*["']?(?!#|data:)[^"'>\s]+""", markup)
    assert [link for link in outside if "xlink" not in link and "#" not in link] == []
    again = ran.folder / "again"
    again.mkdir()
    command = ["--store", "results", "report", "quickstart", "-o", "again/report.html"]
    subprocess.run([BIN / "segprint", *command], cwd=ran.folder, check=True)
    assert (again / "report.html").read_text(encoding="utf-8") == page


def test_sweeping_again_trains_nothing_and_starts_no_ray(ran: Ran) -> None:
    store = Store(str(ran.folder / "results"))

    def results() -> list[str]:
        return [key for key in store.list("") if not key.startswith("drivers/")]

    before = results()
    done = subprocess.run(
        [BIN / "segprint", "--store", "results", "sweep", "./quickstart.py", "--json"],
        cwd=ran.folder,
        env={**os.environ, "RAY_ADDRESS": "nowhere:1", "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    summary = json.loads(done.stdout)
    assert summary["complete"]
    assert len(summary["leaderboard"]) == 3
    assert results() == before


def test_no_lease_or_checkpoint_is_left(ran: Ran) -> None:
    ledger = Ledger(Store(str(ran.folder / "results")))
    assert ledger.leases.ages() == {}
    assert ledger.store.list("checkpoints/") == []
