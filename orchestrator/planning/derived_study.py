"""Studies of readings: finished trials of a study that are read in another way, without training.

A derived study is an ordinary space with one arm per cell of the source, which has the source's
config with other reading fields. So the sweep runs, resumes and reports it like any other.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pprint import pformat

from orchestrator.formatting import plural
from orchestrator.ledger.commits import Record
from orchestrator.ledger.ledger import Ledger
from orchestrator.planning.named_trials import named_trials
from orchestrator.planning.same_name import check_no_cluster
from orchestrator.planning.trainings import readable
from search_spaces import Space
from trainables.config import Config, parse
from trainables.trusted_files import only_trusted

MOST_NAMED = 3
"""Trials that an error names."""


@dataclass(frozen=True)
class SourceTrial:
    """A finished final trial, with its config as this version of the code parses it."""

    arm: str
    cell: str
    seed: int
    digest: str
    config: Config
    schema: int
    """The version of the tables of its rows."""

    @property
    def label(self) -> str:
        """The name of the trial in messages."""
        return f"{self.cell} seed {self.seed}"


def source_trials(ledger: Ledger, what: str, trusted: Iterable[str] = ()) -> list[SourceTrial]:
    """Return the finished trials of ``STUDY``, ``STUDY/ARM`` or ``STUDY/CELL``.

    Of Python files, their configs may name ``trusted``.

    Raises:
        ValueError: there are none, or this code cannot parse a config.
    """
    commits = ledger.commits()
    named = named_trials(ledger, what)
    finished = [t for t in named if (c := commits.get(t.slot.digest)) and c.outcome == "finished"]
    if not finished:
        raise ValueError(f"{what}: none of its {plural(len(named), 'trial')} is finished")
    records = ledger.store.get_many([commits[t.slot.digest].key for t in finished])
    trials: list[SourceTrial] = []
    with only_trusted(trusted):
        for slot, declaration in finished:
            key = commits[slot.digest].key
            try:
                config = parse(declaration["config"])
            except ValueError as error:
                raise ValueError(f"{slot.cell} ({slot.digest}): {error}") from None
            schema = Record.load(key, records[key]).schema
            arm = str(declaration["arm"])
            trials.append(SourceTrial(arm, slot.cell, slot.index, slot.digest, config, schema))
    return trials


@dataclass(frozen=True)
class DerivedStudy:
    """A study that reads the networks of other trials."""

    name: str
    space: Space
    configs: list[tuple[SourceTrial, Config]]
    """Each source with its reading."""

    def require_weights(self, ledger: Ledger) -> None:
        """Check that every trial is committed or finds its weights.

        Raises:
            ValueError: one does not; the first few are named.
        """
        kept, committed = ledger.weights.sizes(), ledger.commits()
        absent = [
            source.label
            for source, config in self.configs
            if config.digest() not in committed and not readable(config, kept)
        ]
        if absent:
            more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
            raise ValueError(
                f"the store keeps no weights for {len(absent)} of"
                f" {plural(len(self.configs), 'trial')} ({', '.join(absent[:MOST_NAMED])}{more}):"
                " they were not kept, are deleted, or belong to other data or formulas; `--train`"
                " trains them again"
            )

    def source_code(self) -> str:
        """Return the file of a space that describes this study."""
        given = {
            f.name: getattr(self.space, f.name)
            for f in dataclasses.fields(self.space)
            if getattr(self.space, f.name) != f.default
        }
        fields = "".join(f"    {name}={_code(value)},\n" for name, value in given.items())
        return (
            f'"""{self.space.question.replace(chr(34), chr(39))}"""\n\n'
            f"from search_spaces import Space\n\nSPACE = Space(\n{fields})\n"
        )


def derive(
    name: str,
    question: str,
    sources: Sequence[SourceTrial],
    change: Callable[[SourceTrial], Config],
    *,
    train: bool = False,
) -> DerivedStudy:
    """Return the study whose trials are those of ``sources`` with other readings.

    ``change`` returns the config of a source with other reading fields. An arm has its name in the
    source, or that of its cell where several cells have the arm. With ``train``, networks that are
    not kept are trained again; otherwise such a study only reads.

    Raises:
        ValueError: the name is that of a cluster.
    """
    check_no_cluster(identifier(name))
    configs = [(source, change(source)) for source in sources]
    cells = {source.cell: (source.arm, config) for source, config in configs}
    several = Counter(arm for arm, _ in cells.values())
    arms: dict[str, dict[str, object]] = {}
    for cell, (arm, config) in cells.items():
        arms[_unused(identifier(arm if several[arm] == 1 else cell), arms)] = _fields(config)
    space = Space(
        question=question,
        config={},
        arms=arms,
        replicates=1 + max(source.seed for source in sources),
        read_only=not train,
        name=identifier(name),
    )
    return DerivedStudy(identifier(name), space, configs)


def _unused(name: str, taken: Collection[str]) -> str:
    """Return a name, with a number where it is taken: two cells may differ in a sign only."""
    names = (f"{name}_{number}" for number in count(2))
    return next(n for n in chain([name], names) if n not in taken)


def _code(value: object) -> str:
    """Return a value as Python writes it, long ones on several lines."""
    if isinstance(value, str):
        return repr(value)
    return pformat(value, width=90, sort_dicts=False, compact=True)


def _fields(config: Config) -> dict[str, object]:
    """Return the plain form of a config without its seed, which the replicates give."""
    return {name: value for name, value in config.plain().items() if name != "seed"}


def identifier(text: str) -> str:
    """Return a text as the name of a study or an arm.

    >>> identifier("nuclei-64_linear"), identifier("2018")
    ('nuclei_64_linear', '_2018')
    """
    name = re.sub(r"\W+", "_", text)
    return name if name.isidentifier() else f"_{name}"
