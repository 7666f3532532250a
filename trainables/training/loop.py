"""The training loop: plain PyTorch, without a cluster; yields its progress, returns its result.

Every draw depends on the seed and the step alone, so a run that is resumed from a checkpoint or
shared by several workers computes the same numbers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import Tensor

from trainables import controls
from trainables.checkpoint import Checkpoint
from trainables.config import Config
from trainables.data import prepared, wholes
from trainables.evaluation import evaluate
from trainables.models import Network
from trainables.part import require
from trainables.rows import Environment, StepRow
from trainables.run import Run
from trainables.runtime.numerics import select_numerics
from trainables.runtime.worker_context import WorkerContext
from trainables.torch_calls import floats
from trainables.trainer import LibraryTrainer, Trainer
from trainables.training.final_test import RunResult, final_test, on_all_workers
from trainables.training.state import State
from trainables.training.step import Stepper
from trainables.training.trained import Shelf, Trained, WeightsError

REPORT_SECONDS = 5.0
"""The longest time between two reports of progress: how soon a run can be stopped."""


@dataclass(frozen=True)
class Progress:
    """Sent at every validation, and every few seconds of training between two of them."""

    step: int
    steps: int
    score: float | None
    """None between validations."""
    case_scores: list[float]
    """The score of each validation case, in order; ``score`` is their mean. Empty between
    validations."""
    history: list[StepRow]
    """Rows of the ``steps`` table so far."""
    save: Callable[[], Checkpoint]
    """Returns a checkpoint of this moment; to be called before the run continues."""
    environment: Environment = field(default_factory=Environment)
    """The environment of the run (:func:`trainables.runtime.environment.environment_of`)."""
    keep: Callable[[], None] = lambda: None
    """Writes a checkpoint of this moment to the store, and returns when it is there; to be called
    before the run continues. Set by :func:`trainables.training.attempt.attempt`."""


def train(
    config: Config,
    context: WorkerContext,
    resume: Checkpoint | None = None,
    shelf: Shelf | None = None,
) -> Generator[Progress, None, RunResult]:
    """Train one config on this worker, in step with the others; the result is the same on all.

    Rank 0 keeps the weights of each network on the ``shelf``. A network whose weights are there is
    not trained; on a shelf that does not train, no other network is.

    Raises:
        DivergedError: a NaN or inf, with its step.
        ValueError: ``resume`` is not a checkpoint of this config; the batch cannot be shared by so
            many workers; a control needs a second case; the data differ from the
            declaration of their data set.
    """
    digest = config.digest()
    configure_torch(config, context)
    run = Run(config, context, prepared(config))
    _check(run)
    shelf = shelf if context.rank == 0 and not config.model.trains_itself else None
    with contextlib.closing(create_trainer(run)) as trainer:
        if resume is not None:
            trainer.load(resume, digest)
            resume = None  # so that its tensors are freed
        while True:
            training = config.training_digests[len(trainer.trained)]
            if trainer.step == 0 and _adopt_kept(trainer, training, shelf):
                yield _progress(trainer, digest, None, [])
            else:
                yield from _train_network(trainer, digest)
                _keep(trainer, training, shelf)
            if not trainer.begin_next():
                break
        return final_test(run, trainer)


def create_trainer(run: Run) -> Trainer:
    """Return the trainer of a run: this package's own, or that of the model's library."""
    if not run.config.model.trains_itself:
        return State(run)
    training = run.config.trainings[0]
    run = dataclasses.replace(run, config=training, data=prepared(training))
    from trainables.nnunet.training import NNUNetTrainer  # its library takes seconds to import

    return NNUNetTrainer(run)


def _train_network(trainer: Trainer, digest: str) -> Iterator[Progress]:
    """Train one network from its current step to its end."""
    with contextlib.ExitStack() as stack:
        if isinstance(trainer, LibraryTrainer):
            stepper = trainer
        else:
            assert isinstance(trainer, State)
            stepper = stack.enter_context(contextlib.closing(Stepper(trainer)))
        yield from _train_with(stepper, trainer, digest)


def _train_with(
    stepper: Stepper | LibraryTrainer, trainer: Trainer, digest: str
) -> Iterator[Progress]:
    record, settings = trainer.record, trainer.run.config.train
    steps, every = settings.steps, settings.validate_every
    while not _finished(trainer):
        began = time.perf_counter()
        due = trainer.step >= steps
        while not due:
            record.loss_sum += stepper.advance()
            due = trainer.step >= steps or trainer.step % every == 0
            if time.perf_counter() > began + REPORT_SECONDS:
                break
        record.loss_sum += stepper.finish()
        record.seconds += time.perf_counter() - began
        score, case_scores = _validate(trainer) if due else (None, [])
        yield _progress(trainer, digest, score, case_scores)


def _progress(
    trainer: Trainer, digest: str, score: float | None, case_scores: list[float]
) -> Progress:
    """Return the progress of a run after its latest step."""
    return Progress(
        step=trainer.record.before + trainer.step,
        steps=trainer.run.config.train.steps * trainer.networks,
        score=score,
        case_scores=case_scores,
        history=list(trainer.record.history),
        save=functools.partial(trainer.save, digest),
    )


def _adopt_kept(trainer: Trainer, training: str, shelf: Shelf | None) -> bool:
    """Take over the kept weights of a training on all workers; return False if there are none."""
    context = trainer.run.context
    found = shelf.weights(training) if shelf is not None else None
    header = context.broadcast(found.header() if found is not None else None)
    if header is None:
        return False
    tensors = context.broadcast(found.tensors if found is not None else None)
    trained = Trained.parse(header, tensors or b"")
    try:
        trained.load_into(trainer.best)
    except WeightsError as error:
        if shelf is not None and not shelf.trains:
            raise
        warnings.warn(f"{error}; training again", stacklevel=2)
        return False
    trainer.step = trainer.record.adopt(trained.training_record)
    return True


def _keep(trainer: Trainer, training: str, shelf: Shelf | None) -> None:
    """Keep the weights of a network; all workers go on with those that count."""
    other: bytes | None = None
    if shelf is not None:
        record = trainer.record.of_network()
        own = Trained.of(trainer.run.config, training, trainer.best, record)
        counting = shelf.keep_weights(own)
        other = counting.tensors if counting.sha256 != own.sha256 else None
    other = trainer.run.context.broadcast(other)
    if other is not None:  # another process was faster, and its weights differ in their last bits
        trainer.best.load_state_dict(safetensors.torch.load(other))


def _finished(trainer: Trainer) -> bool:
    """Whether all steps are made or the patience is exhausted, after one validation at least."""
    record, settings = trainer.record, trainer.run.config.train
    exhausted = 0 < settings.patience <= record.worse
    return record.validations > 0 and (trainer.step >= settings.steps or exhausted)


def _validate(trainer: Trainer) -> tuple[float, list[float]]:
    """Validate, record the steps since the last validation, and keep the best weights.

    Returns the mean score and the score of each case.
    """
    record, began = trainer.record, time.perf_counter()
    scores_NK = _scores(trainer.run, trainer.ema)
    score_sum, count = float(scores_NK.sum()), scores_NK.numel()
    case_scores = floats(scores_NK.mean(1))
    seconds = time.perf_counter() - began
    record.train_seconds += record.seconds
    record.validate_seconds += seconds
    previous = record.history[-1]["step"] if record.history else 0
    at = record.before + trainer.step
    record.validations += 1
    record.history.append(
        {
            "step": at,
            "loss_sum": record.loss_sum if at > previous else None,
            "loss_count": (at - previous) * trainer.batch,
            "score_sum": score_sum,
            "score_count": count,
            "case_scores": case_scores,
            "seconds": record.seconds + seconds,
        }
    )
    record.loss_sum, record.seconds = 0.0, 0.0
    score = score_sum / count
    if score > record.best_score or trainer.last_counts:
        record.best_score, record.best_step, record.worse = score, at, 0
        trainer.keep_best()
    else:
        record.worse += 1
    return score, case_scores


def _scores(run: Run, network: Network) -> Tensor:
    """Return the Dice of every validation case and foreground class: float64 [N, K]."""
    scores = on_all_workers(run.context, lambda: evaluate.score(run, network))
    return run.context.all_reduce_sum(scores)


def configure_torch(config: Config, context: WorkerContext) -> None:
    """Select the precision of the config, and deterministic convolutions."""
    select_numerics(config.train.precision, context.device)
    if config.train.compile:
        torch.compiler.reset()  # a reused process would exhaust the cache of compiled versions


def _check(run: Run) -> None:
    """Check the rules that depend on the number of workers and of cases."""
    settings, world = run.config.train, run.context.world
    require(
        settings.accumulate == 1 or settings.batch % (settings.accumulate * world) == 0,
        f"train.batch={settings.batch} must be a multiple of accumulate="
        f"{settings.accumulate} times {world} workers",
    )
    shuffled_in_validation = settings.control == "shuffled_image"
    if shuffled_in_validation:
        controls.partner(0, len(wholes(run.data.val)))  # raises for a lone case
    if shuffled_in_validation or "shuffled_image" in run.config.test.controls:
        controls.partner(0, len(wholes(run.data.test)))
