"""Evaluation of compiled networks: the same numbers, from few graphs; and what cannot compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small import MODELS
from trainables.config import Config
from trainables.data import prepared
from trainables.evaluation import predict, probe
from trainables.evaluation.compiled import compiled
from trainables.models import Network
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext

Small = Callable[..., Config]
BATCHES = (4, 3, 5, 4, 2)


def random_network(config: Config) -> Network:
    """A network whose output is not the zero that it is initialised to."""
    torch.manual_seed(0)
    network = config.model.build(config.ports).eval()
    draws = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=draws))
    return network


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that are compiled, which run as they are."""
    found: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        found.append(graph)
        return graph.forward

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: whole(call, backend=count))
    torch.compiler.reset()
    return found


SLOWER = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.cluster])
    for name in MODELS
    if name != "ensemdiff"
]


@pytest.mark.parametrize("model", ["ensemdiff", *SLOWER])
def test_batches_of_many_sizes_need_few_graphs(
    small: Small, model: str, graphs: list[torch.fx.GraphModule]
) -> None:
    """One number of images is a constant of its graph, the second graph takes any other."""
    config = small(model={model: MODELS[model]}, train={"compile": True})
    run = Run(config, WorkerContext(), prepared(config))
    plain = random_network(config)
    with torch.no_grad():
        for images in BATCHES:
            network = compiled(run, plain)  # a new one, as for each validation
            mask = torch.randn(images, config.ports.mask, 16, 16)
            image, t = torch.randn(images, config.ports.image, 16, 16), torch.rand(images)
            features = network.features(image)
            torch.testing.assert_close(
                network(mask, t, image, features).main,
                plain(mask, t, image, plain.features(image)).main,
                rtol=1e-5,
                atol=1e-5,
            )
    of_features = sum(not any("mask" in n.name for n in graph.graph.nodes) for graph in graphs)
    assert len(graphs) - of_features == 2
    assert of_features <= 2


def test_a_prediction_and_a_probe_of_a_compiled_network_are_those_of_the_plain_one(
    small: Small, graphs: list[torch.fx.GraphModule]
) -> None:
    rows: list[Any] = []
    for compiles in (False, True):
        config = small(
            task={"synthetic": {"size": 16, "cases": 12}},
            mode={"diffusion": {"members": 2, "sampler": {"ddim": {"steps": 2}}}},
            train={"compile": compiles},
        )
        run = Run(config, WorkerContext(), prepared(config))
        network = random_network(config)
        cases = run.data.train
        found = predict.predictions(run, network, cases, range(len(cases)))
        members = torch.cat([p.members for _, p in found])
        errors = torch.tensor([r["x0_error_sum"] for r in probe.measure(run, network)])
        rows.append((members, errors, len(graphs)))
    (members, errors, none), (as_compiled, compiled_errors, some) = rows
    torch.testing.assert_close(as_compiled, members, rtol=0, atol=1e-5)
    torch.testing.assert_close(compiled_errors, errors, rtol=1e-5, atol=0)
    assert none == 0
    assert 0 < some <= 4


def test_a_network_that_does_not_compile_is_evaluated_as_it_is(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Callable[..., Any]:
        raise NotImplementedError("no compiler")

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: whole(call, backend=broken))
    torch.compiler.reset()
    config = small(train={"compile": True})
    run = Run(config, WorkerContext(), prepared(config))
    plain = random_network(config)
    image, t = torch.randn(2, config.ports.image, 16, 16), torch.rand(2)
    mask = torch.randn(2, config.ports.mask, 16, 16)
    network = compiled(run, plain)
    with torch.no_grad():
        with pytest.warns(UserWarning, match="without torch.compile: .*no compiler"):
            output = network(mask, t, image)
        assert torch.equal(output.main, plain(mask, t, image).main)
