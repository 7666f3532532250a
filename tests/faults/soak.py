"""Strikes at random for some time: ``python -m tests.faults.soak --minutes 20 --seed 1``.

A study on a cluster of two nodes with its store in S3 is struck by whatever a seeded generator
says, its command run again whenever it has ended, and extended whenever it is complete; at last it
must be whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.trial_state import MOST_FAILURES
from orchestrator.storage.object_store import Store
from search_spaces import LogUniform, Search, Space
from tests.faults.drill import Drill, paced, trial
from tests.faults.nodes import Nodes
from tests.faults.numbers import printed
from tests.faults.proxy import Fault, Proxy
from tests.server import serving

EVERY = 40
WEIGHTS = {
    "trial killed": 4,
    "trial hangs": 1,
    "driver killed": 4,
    "driver told to stop": 3,
    "node killed": 2,
    "node drained": 1,
    "head killed": 1,
    "store away": 3,
    "store flaky": 3,
    "second driver": 2,
}


def study() -> Space:
    """Three trials of one worker, and a searched one that then has two."""
    arms = {name: trial(name, 4 * EVERY, EVERY, seconds=0.05) for name in "abc"}
    rate = {"train.learning_rate": LogUniform(1e-4, 1e-3)}
    arms["two"] = trial("two", 4 * EVERY, EVERY, seconds=0.05) | rate
    other = {"train.steps": EVERY, "model": trial("search", 0, 1)["model"]}
    return paced(arms, workers=2, search=Search(1, other))


@dataclass
class Soak:
    """A drill that is struck again and again."""

    drill: Drill
    proxy: Proxy
    rng: random.Random
    nodes: Nodes
    began: float = field(default_factory=time.monotonic)
    events: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    extra: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def note(self, what: str) -> None:
        """One line of the table."""
        self.events.append((time.monotonic() - self.began, what))
        print(f"{self.events[-1][0]:7.1f} s  {what}", flush=True)

    def run(self, seconds: float) -> None:
        """Strike until time is over, then let the command complete the study."""
        while time.monotonic() < self.began + seconds:
            self.keep_running()
            pause = time.monotonic() + self.rng.uniform(5, 30)
            while time.monotonic() < pause and self.drill.driver.poll() is None:
                time.sleep(0.1)
            if self.drill.driver.poll() is None:
                self.strike()
        self.proxy.heal()
        self.nodes.restore(2)
        for _ in range(5):  # each of which gets on
            if self.drill.driver.wait(600) == 0:
                break
            self.keep_running()
        for driver in self.extra:
            driver.wait(600)
        self.note(f"complete: {len(self.drill.ledger.commits())} trials")

    def keep_running(self) -> None:
        """Start the command again if it ended, with more to do if that was the end of the study."""
        drill = self.drill
        if drill.drivers and drill.driver.poll() is None:
            return
        if drill.drivers:
            code = drill.driver.returncode
            self.note(f"the command ended with {code}: {drill.said().strip().splitlines()[-1:]}")
            assert code in (0, 1, 2, 130, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM)
            if code == 0:
                drill.ask(replace(drill.space, replicates=drill.space.replicates + 1))
        drill.start()

    def strike(self) -> None:
        """One of the strikes, at this moment."""
        kind = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        act: Callable[[], object] = getattr(self, f"_{kind.replace(' ', '_')}")
        self.note(kind)
        self.drill.hit(act)

    def _running(self) -> list[int]:
        """Processes of trials that may fail once more before they are given up."""
        store, failures = self.drill.ledger.store, self.drill.failures()
        found: list[int] = []
        for key in store.list("leases/"):
            if failures.get(key[7:-5], 0) < MOST_FAILURES - 1:
                found.append(int(json.loads(store.get(key))["pid"]))
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]

    def _signal(self, sig: signal.Signals) -> None:
        pids = self._running()
        if pids:
            os.kill(self.rng.choice(pids), sig)
        else:
            self.note("  nothing to strike")

    def _trial_killed(self) -> None:
        self._signal(signal.SIGKILL)

    def _trial_hangs(self) -> None:
        self._signal(signal.SIGSTOP)

    def _driver_killed(self) -> None:
        self.drill.driver.kill()

    def _driver_told_to_stop(self) -> None:
        self.drill.driver.send_signal(self.rng.choice([signal.SIGINT, signal.SIGTERM]))

    def _node_killed(self) -> None:
        self.nodes.kill(self.rng.choice(sorted(self.nodes.alive)))
        time.sleep(self.rng.uniform(0, 10))
        self.nodes.add()

    def _node_drained(self) -> None:
        number = self.rng.choice(sorted(self.nodes.alive))
        self.nodes.drain(number, 10)
        time.sleep(10)
        self.nodes.kill(number)
        self.nodes.add()

    def _head_killed(self) -> None:
        self.nodes.kill_head()
        code = self.drill.end()
        self.note(f"  the command ended with {code}")
        self.nodes.__exit__(None, None, None)
        self.nodes = Nodes(2, {})
        self.drill.env = self.nodes.env

    def _store_away(self) -> None:
        self.proxy.dead = True
        time.sleep(self.rng.uniform(1, 30))
        self.proxy.dead = False

    def _store_flaky(self) -> None:
        share = self.rng.uniform(0.05, 0.3)
        self.proxy.fault(Fault("refuse", lambda *_: self.rng.random() < share, times=None))
        time.sleep(self.rng.uniform(5, 20))
        self.proxy.heal()

    def _second_driver(self) -> None:
        self.extra.append(self.drill.driver)
        self.drill.start()


def soak(seconds: float, seed: int, folder: Path) -> None:
    """Strike for so long, complete, and assert that the study is whole."""
    with serving(folder) as s3:
        server = urlsplit(s3["AWS_ENDPOINT_URL"])
        assert server.hostname
        assert server.port
        with Proxy(server.hostname, server.port) as proxy:
            os.environ.update({**s3, "AWS_ENDPOINT_URL": proxy.url})
            os.environ["SEGPRINT_CACHE"] = str(folder / "cache")
            study_folder = folder / "study"
            study_folder.mkdir()
            ledger = Ledger(Store("s3://segprint-test/soak", patience=60))
            name = f"soak, {seconds / 60:.0f} min, seed {seed}"
            drill = Drill(study_folder, study(), ledger, name, options=("--silence", "120"))
            nodes = Nodes(2, {})
            drill.on, drill.env = "existing", nodes.env
            it = Soak(drill, proxy, random.Random(seed), nodes)
            try:
                it.run(seconds)
                count = drill.space.replicates
                most = 2 * EVERY * len(it.events)  # two trials in flight at every strike
                drill.assert_whole({"search": 1, "final": 4 * count}, redone=most)
                it.nodes.wait_until_free()
            finally:
                drill.kill()
                it.nodes.__exit__(None, None, None)
            kinds = Counter(what for _, what in it.events if what in WEIGHTS)
            print("\n".join(f"{n:4} x {kind}" for kind, n in sorted(kinds.items())))
            print(printed([drill.numbers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segprint-soak-") as folder:
        soak(60 * options.minutes, options.seed, Path(folder))


if __name__ == "__main__":
    main()
