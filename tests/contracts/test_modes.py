"""What every mode owes: a loss per case, probabilities, and draws that only the seed decides."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
import torch

from tests.small import MODELS
from trainables.augment import turned
from trainables.models import Ensemble, Model, Network, Output
from trainables.modes import Batch, Mode
from trainables.modes.diffusion import Diffusion
from trainables.parsing import parse_part
from trainables.part import names

ENCODINGS = [{"onehot": {}}, {"bits": {"scale": 0.5, "offset": 0.5}}]
VARIANTS: list[dict[str, Any]] = [
    *(
        {"target": t, "loss": loss}
        for t, loss in itertools.product(("x0", "eps", "v"), ("mse", "hybrid"))
    ),
    *({"encoding": e, "dice_weight": 1.0} for e in ENCODINGS),
    *({"loss": "hybrid", "encoding": e, "members": 2} for e in ENCODINGS),
    *({"weight": w, "target": "v", "loss": "mse"} for w in names("weights")),
    {"start": "one_step", "t_start": 0.5},
    {"start": "one_step", "t_start": 0.5, "target": "flow", "loss": "mse"},
    {"start": "feedforward", "feedforward_share": 0.5, "t_start": 0.4, "members": 3},
    {"start": "auxiliary", "t_start": 0.6, "members": 2},
    {"evidence": False, "clip": False},
    {"sample_evidence": True, "members": 2},
    {"sampler": {"ddpm": {"steps": 3, "variance": "learned"}}, "loss": "hybrid"},
    *({"sampler": {name: {"steps": 3, "spacing": "log_snr"}}} for name in names("samplers")),
    {"sampler": {"ddim": {"spacing": "information", "quantiles": [-3.0, 0.0, 1.0]}}},
    {"target": "flow", "loss": "mse", "encoding": "sdf", "schedule": "rectified_flow"},
    {"start": "auxiliary", "t_start": 0.6, "encoding": {"sdf": {"scale": 0.5}}, "loss": "mse"},
]
TWINS: list[dict[str, Any]] = [{"members": 8}, {"members": 3, "loss": "mse"}]
SPECS: list[Any] = [
    *names("modes"),
    *({"diffusion": v} for v in VARIANTS),
    *({name: v} for name in ("feedforward", "image_only") for v in TWINS),
    {"deep_ensemble": {"networks": 2, "members": 2}},
]
CLASSES = [2, 3]


def mode(spec: Any) -> Mode:
    return cast("Mode", parse_part("modes", spec))


def network(wanted: Mode, classes: int) -> Network:
    torch.manual_seed(0)
    model = cast("Model", parse_part("models", {"medsegdiff_v1": MODELS["medsegdiff_v1"]}))
    made = model.build(wanted.ports(1, classes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.eval()


def whole(wanted: Mode, classes: int) -> Network:
    """What it is asked to predict from: several networks where it trains several."""
    if wanted.runs == 1:
        return network(wanted, classes)
    return Ensemble([network(wanted, classes) for _ in range(wanted.runs)]).eval()


def batch(wanted: Mode, classes: int, count: int = 4) -> Batch:
    draws = torch.Generator().manual_seed(2)
    shape = (count, wanted.ports(1, classes).mask, 8, 8)
    return Batch(
        torch.randn(count, 1, 8, 8, generator=draws),
        torch.randint(classes, (count, 8, 8), generator=draws).byte(),
        (torch.arange(count) + torch.rand(count, generator=draws)) / count,
        *(torch.rand(count, generator=draws) for _ in range(2)),
        torch.arange(count),
        torch.randn(shape, generator=draws),
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("classes", CLASSES)
def test_loss_is_one_finite_number_per_case_with_a_gradient(spec: Any, classes: int) -> None:
    wanted = mode(spec)
    model = network(wanted, classes).train()
    model.seed(torch.arange(4))
    losses = wanted.losses(model, batch(wanted, classes), classes, "none")
    assert losses.shape == (4,)
    assert losses.isfinite().all()
    losses.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("classes", CLASSES)
@torch.no_grad()
def test_predictions_are_probabilities(spec: Any, classes: int) -> None:
    wanted = mode(spec)
    p = wanted.predict(whole(wanted, classes), torch.randn(2, 1, 8, 8), classes, [1, 2], "none")
    channels = 1 if classes == 2 else classes
    assert p.members.shape == (2, wanted.ensemble, channels, 8, 8)
    assert p.auxiliary is not None
    for values in (p.members.flatten(0, 1), p.auxiliary):
        assert values.min() >= 0
        assert values.max() <= 1
        if classes > 2:
            torch.testing.assert_close(values.sum(1), torch.ones(len(values), 8, 8))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_a_case_is_predicted_alike_in_every_batch(spec: Any) -> None:
    wanted, images = mode(spec), torch.randn(3, 1, 8, 8)
    model = whole(wanted, 2)
    together = wanted.predict(model, images, 2, [5, 6, 7], "none").members
    alone = wanted.predict(model, images[1:2], 2, [6], "none").members
    torch.testing.assert_close(together[1:2], alone, atol=2e-4, rtol=0)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@torch.no_grad()
def test_passes_are_what_the_mode_says(spec: Any) -> None:
    calls: list[int] = []
    wanted = mode(spec)
    model = whole(wanted, 2)
    for one in model.networks if isinstance(model, Ensemble) else [model]:
        one.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    wanted.predict(model, torch.randn(2, 1, 8, 8), 2, [1, 2], "none")
    assert sum(calls) == 2 * wanted.passes


@torch.no_grad()
def test_members_differ_and_seeds_decide_them() -> None:
    wanted, images = mode({"diffusion": {"members": 3}}), torch.randn(2, 1, 8, 8)
    model = network(wanted, 2)
    first = wanted.predict(model, images, 2, [1, 2], "none").members
    assert not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first, wanted.predict(model, images, 2, [1, 2], "none").members)
    assert not torch.equal(first[0], wanted.predict(model, images, 2, [3, 2], "none").members[0])


class Pointwise(Network):
    """Logits that are the image's own pixels, whatever stands beside them."""

    def forward(self, x: Any, t_B: Any, images: Any, features: Any = None) -> Output:
        return Output(images)


@pytest.mark.parametrize("members", range(1, 9))
def test_every_view_is_turned_back_to_where_it_came_from(members: int) -> None:
    """A pointwise network says the same of every view, pixel by pixel, so all members agree."""
    images = torch.randn(2, 1, 6, 6)
    wanted = mode({"feedforward": {"members": members}})
    p = wanted.predict(Pointwise(), images, 2, [1, 2], "none").members
    assert p.shape[1] == wanted.passes == wanted.ensemble == members
    torch.testing.assert_close(p, images.sigmoid()[:, None].expand_as(p))


@torch.no_grad()
def test_the_eight_views_together_are_blind_to_how_the_image_is_turned() -> None:
    images, wanted = torch.randn(1, 1, 8, 8), mode({"feedforward": {"members": 8}})
    model = network(wanted, 2)

    def mean(shown: torch.Tensor) -> torch.Tensor:
        return wanted.predict(model, shown, 2, [1], "none").members.mean(1)

    seen = mean(images)
    for turn in range(8):
        torch.testing.assert_close(mean(turned(images, turn)), turned(seen, turn))
    alone = mode("feedforward").predict(model, images, 2, [1], "none").members[:, 0]
    assert not torch.allclose(alone, seen, atol=1e-3), "the views of this network differ"


@pytest.mark.parametrize("members", [0, 9])
@pytest.mark.parametrize("name", ["feedforward", "image_only"])
def test_a_twin_has_one_to_eight_members(name: str, members: int) -> None:
    with pytest.raises(ValueError, match=rf"members={members} must lie in 1\.\.8"):
        mode({name: {"members": members}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"t_low": 0.5, "t_high": 0.5}, "must satisfy 0 <= t_low < t_high <= 1"),
        ({"loss": "cross_entropy", "target": "v"}, "target='v' must be 'x0'"),
        ({"loss": "mse", "feedforward_share": 0.5}, "needs loss='cross_entropy', not 'mse'"),
        ({"start": "feedforward"}, "feedforward_share=0.0 must be positive"),
        (
            {"start": "one_step", "target": "eps", "loss": "mse"},
            r"target='eps' does not allow \(choices of target: x0, v, flow\)",
        ),
        ({"t_start": 0.5}, "t_start=0.5 must be 1 with start='noise'"),
        ({"start": "one_step", "t_low": 0.3, "t_start": 0.2}, r"t_start=0.2 must lie in \(t_low"),
        ({"loss": "bce"}, "unknown mode.diffusion.loss 'bce'"),
        ({"encoding": {"onehot": {"scale": -1.0}}}, "scale=-1.0 must be positive"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_rule(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mode({"diffusion": fields})


def test_the_default_twins_are_the_same_module() -> None:
    shapes = [
        {k: v.shape for k, v in network(mode(name), 3).state_dict().items()}
        for name in ("diffusion", "feedforward")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("target", ["x0", "eps", "v"])
def test_the_loss_of_each_target_is_the_x0_error_times_its_ratio(target: str) -> None:
    """ε error² = SNR · x0 error², v error² = (1 + SNR) · x0 error², for one network's estimate."""
    wanted = cast(
        "Diffusion",
        mode({"diffusion": {"target": target, "loss": "mse", "clip": False, "image_dropout": 0.0}}),
    )
    model, data = network(wanted, 2), batch(wanted, 2)
    losses = wanted.losses(model, data, 2, "none")
    from trainables.diffusion import add_noise
    from trainables.masks import to_channels
    from trainables.segmenter import auxiliary_loss

    t, x0 = data.uniform_B.double(), wanted.encoding.to_x0(to_channels(data.labels_BHW, 2))
    log_snr = wanted.log_snr(t)
    x = add_noise(x0, log_snr, data.noise_BMHW)
    output = model(x, t, data.images_BCHW)
    error = (wanted.estimate(output, x, log_snr).x0 - x0).square().flatten(1).mean(1)
    snr = log_snr.exp()
    ratio = {"x0": torch.ones_like(snr), "eps": snr, "v": 1 + snr}[target]
    expected = ratio * error + auxiliary_loss(
        output, to_channels(data.labels_BHW, 2), data.labels_BHW
    )
    torch.testing.assert_close(losses.double(), expected, rtol=2e-3, atol=1e-4)
