"""Whether trials fit into the memory of the devices that they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from orchestrator.formatting import binary_size
from orchestrator.planning.device_memory import NodeMemory
from orchestrator.planning.memory_estimate import MemoryNeed, memory_need, surely_fits
from orchestrator.planning.plan import Plan
from orchestrator.planning.resources import ResourceRequest, workers_of
from search_spaces._workers import Workers, fewest, most
from trainables.config import Config


class TrialKind(NamedTuple):
    """Trials of one cell and stage that are left to run."""

    cell: str
    stage: str
    config: Config
    workers: Workers
    trials: int

    def need(self, device: str) -> MemoryNeed | None:
        """Return the memory of one worker; the fewest workers have the largest share each."""
        return memory_need(self.config, fewest(self.workers), device)

    def least(self, device: str) -> MemoryNeed | None:
        """Return the memory of one worker with batches split to one image."""
        return memory_need(self.config, most(self.workers), device, split=True)


def device_kind(plan: Plan, gpus: float) -> str:
    """Return the kind of device that trials use on nodes with up to so many GPUs."""
    return "cuda" if ResourceRequest.of(plan.space, 1, gpus).gpus else "cpu"


def kinds_left(plan: Plan) -> list[TrialKind]:
    """Return the kinds of trials that are left to run, those to be suggested by an example."""
    kinds: dict[object, TrialKind] = {}

    def add(cell: str, stage: str, config: Config, workers: Workers, count: int) -> None:
        key = (cell, stage, config.model, config.mode, config.train, workers)
        before = kinds.get(key)
        total = count + (before.trials if before else 0)
        kinds[key] = TrialKind(cell, stage, config, workers, total)

    for t in plan.pending:
        add(t.cell.name, t.stage, t.config, t.workers, 1)
    cells = {cell.name: cell for cell in plan.cells}
    for name, example in plan.examples.items():
        for stage, count in (
            ("search", plan.suggestions_left.get(name, 0)),
            ("final", plan.finals_waiting.get(name, 0)),
        ):
            if count:
                workers = workers_of(plan.space, cells[name], stage)
                add(name, stage, getattr(example, stage), workers, count)
    return list(kinds.values())


def needs(plan: Plan, device: str) -> dict[str, MemoryNeed]:
    """Return the memory of a worker of each cell that has trials left, where it is known."""
    largest: dict[str, MemoryNeed] = {}
    for kind in kinds_left(plan):
        need, before = kind.need(device), largest.get(kind.cell)
        if need is not None and (before is None or need.most > before.most):
            largest[kind.cell] = need
    return largest


def too_large(plan: Plan, nodes: Sequence[NodeMemory]) -> Iterator[str]:
    """Yield a line for each kind of trial that cannot fit, even with batches split to one image."""
    kinds = kinds_left(plan)
    request = ResourceRequest.of(plan.space, 1, max((node.gpus for node in nodes), default=0))
    device = "cuda" if request.gpus else "cpu"
    wanted = sum(kind.trials * most(kind.workers) for kind in kinds)
    for kind in kinds:
        shares = [(_share(request, node, wanted), node) for node in nodes]
        if any(share is None for share, _ in shares):
            continue  # the size of a device is unknown
        if surely_fits(kind.config, min(share or 0 for share, _ in shares)):
            continue
        need = kind.least(device)
        if need is None:
            continue
        fitting = [node for share, node in shares if share is not None and share >= need.most]
        slots = request.worker_slots({"CPU": n.cpus, "GPU": n.gpus} for n in fitting)
        if slots < fewest(kind.workers):
            yield _sentence(kind, need, max(share or 0 for share, _ in shares), request)


def _share(request: ResourceRequest, node: NodeMemory, wanted: int) -> int | None:
    """Return the bytes of a worker's device divided by the workers that share it."""
    if request.gpus:
        if not node.gpus:
            return 0
        return None if node.gpu is None else int(node.gpu / max(1, int(1 / request.gpus + 1e-9)))
    if node.host is None:
        return None
    return node.host // max(1, min(request.slots({"CPU": node.cpus}), wanted))


def _sentence(kind: TrialKind, need: MemoryNeed, share: int, request: ResourceRequest) -> str:
    option, device = ("gpus", "GPU") if request.gpus else ("cpus", "machine's memory")
    return (
        f"{kind.cell} {kind.stage}: a worker needs {description(need)} even with one image at a"
        f" time, and its share of the {device} is {binary_size(share)}"
        f" (Space.{option}={getattr(request, option):g}): choose a larger {option}, so that fewer"
        " trials share it, a smaller model or task size, or train.precision='bfloat16'"
    )


def description(need: MemoryNeed) -> str:
    """Return the memory of a worker and its parts as text."""
    parts = ", ".join(f"{name} {binary_size(n)}" for name, n in need._asdict().items() if n)
    return f"{binary_size(need.most)} ({parts})"
