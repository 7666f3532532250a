"""The step: batches prepared ahead, results read late, whole graphs, and weights in a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.small import MODELS
from trainables.batches import draw
from trainables.config import Config
from trainables.data import prepared
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext
from trainables.schemas import DivergedError
from trainables.training.batch_queue import BatchQueue
from trainables.training.loop import train
from trainables.training.state import State
from trainables.training.step import Stepper
from trainables.training.weights_file import WeightsFile

Small = Callable[..., Config]


def run_of(config: Config) -> Run:
    return Run(config, WorkerContext(), prepared(config))


@pytest.mark.parametrize("ahead", [0, 2])
def test_batches_prepared_ahead_are_those_of_their_steps(small: Small, ahead: int) -> None:
    run = run_of(small(train={"steps": 5, "batch": 4, "control": "shuffled_image"}))
    queue = BatchQueue(run, ahead)
    for step in range(5):
        for taken, drawn in zip(queue.take(step), draw(run, step), strict=True):
            assert (taken is None) == (drawn is None)
            assert taken is None or torch.equal(taken, drawn)
    queue.close()


def test_an_error_in_a_batch_that_is_prepared_ahead_is_raised_at_its_step(small: Small) -> None:
    run = run_of(small(train={"steps": 3, "batch": 4}))
    queue = BatchQueue(run, ahead=2)
    queue.take(0)
    run.data.train.clear()
    queue.close()
    late = BatchQueue(run, ahead=2)
    with pytest.raises((RuntimeError, IndexError)):
        late.take(1)
    late.close()


def test_the_losses_that_are_read_late_add_up_to_those_of_every_step(small: Small) -> None:
    run = run_of(small(train={"steps": 4, "batch": 4}))
    late = Stepper(State(run))
    losses = [late.advance() for _ in range(4)]
    assert losses[0] == 0.0
    losses.append(late.finish())
    assert late.finish() == 0.0
    late.close()
    at_once = Stepper(State(run))
    alternating = [(at_once.advance(), at_once.finish()) for _ in range(4)]
    at_once.close()
    assert [before for before, _ in alternating] == [0.0] * 4
    assert losses[1:] == [loss for _, loss in alternating]


def test_a_divergence_names_its_own_step(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small(train={"steps": 8, "batch": 4, "validate_every": 8})
    right, calls = type(config.mode).losses, 0

    def breaking(*arguments: Any) -> Tensor:
        nonlocal calls
        calls += 1
        losses: Tensor = right(*arguments)
        return losses * float("nan") if calls == 4 else losses

    monkeypatch.setattr(type(config.mode), "losses", breaking)
    with pytest.raises(DivergedError, match="loss is nan at step 3 of 8"):
        list(train(config, WorkerContext()))


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("model", MODELS)
def test_every_network_is_one_graph_that_is_compiled_once(
    small: Small, model: str, training: bool
) -> None:
    config = small(model={model: MODELS[model]})
    network = config.model.build(config.ports).train(training)
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(network, backend=count, fullgraph=True, dynamic=False)
    for i in range(3):
        inputs = torch.randn(2, config.ports.mask, 16, 16), torch.rand(2)
        image = torch.randn(2, config.ports.image, 16, 16)
        network.seed(torch.tensor([i, i + 1]))
        plain = network(*inputs, image).main
        network.seed(torch.tensor([i, i + 1]))
        assert torch.equal(compiled(*inputs, image).main, plain) or training
    assert len(graphs) == 1


@pytest.mark.parametrize(
    ("precision", "tf32"), [("tf32", True), ("float32", False), ("bfloat16", False)]
)
def test_a_precision_does_not_outlive_its_trial(small: Small, precision: str, tf32: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not tf32
    next(train(small(train={"steps": 1, "batch": 4, "precision": precision}), WorkerContext()))
    assert torch.backends.cuda.matmul.allow_tf32 == tf32
    assert torch.backends.cudnn.allow_tf32 == tf32


def test_weights_in_a_file_are_those_that_were_written_and_stay_so() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2).to(torch.bfloat16)
    ).to(memory_format=torch.channels_last)
    network.register_buffer("empty", torch.zeros(0))
    written = {name: x.clone() for name, x in network.state_dict().items()}
    tensors = WeightsFile(network.state_dict()).tensors()  # the file itself is dropped here
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert tensors.keys() == written.keys()
    for name, x in tensors.items():
        assert x.dtype == written[name].dtype
        assert torch.equal(x, written[name])
