"""What every network owes."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from tests.small import MODELS
from trainables.models import Model, Network, Ports, published_parameters, unet
from trainables.parsing import parse_part
from trainables.part import names

EVERY = {name: cast("Model", parse_part("models", name)) for name in names("models")}
ALL = [name for name, model in EVERY.items() if not model.trains_itself]
DENOISE = [name for name in ALL if EVERY[name].denoises]
BOTH = [Ports(image=3, mask=3, out=3, classes=3), Ports(image=3, mask=0, out=3, classes=3)]


def small(name: str) -> Model:
    return cast("Model", parse_part("models", {name: MODELS.get(name, {})}))


def built(name: str, ports: Ports = BOTH[0]) -> Network:
    if not small(name).installed:
        pytest.skip(f"{name} was not tested: pip install 'segprint[baselines]'")
    torch.manual_seed(0)
    network = small(name).build(ports)
    for parameter in network.parameters():  # published zero initialisations would hide a fault
        torch.nn.init.normal_(parameter, std=0.1)
    network.fit(torch.randn(4, ports.image, 16, 16), torch.randint(0, 3, (4, 16, 16)).byte())
    return network.eval()


def side(name: str) -> int:
    """Small, and at a quarter of it still more than one position of the coarsest features."""
    return max(16, 2 * small(name).stride)


def inputs(
    ports: Ports = BOTH[0], batch: int = 3, side: int = 16
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, ports.mask, side, side, generator=draws),
        torch.rand(batch, generator=draws),
        torch.randn(batch, ports.image, side, side, generator=draws),
    )


def test_every_architecture_has_a_small_one_here() -> None:
    ours = {n for n in ALL if small(n).package is None}
    assert set(MODELS) == {n for n in ours if small(n).published is not None}


@pytest.mark.parametrize("name", EVERY.keys() - set(ALL))
def test_what_is_planned_from_data_says_so_instead_of_a_network(name: str) -> None:
    with pytest.raises(ValueError, match=f"model {name} is planned from the training images"):
        EVERY[name].build(BOTH[0])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ensemdiff", 113_674_370),
        ("segdiff", 164_154_753),
        ("medsegdiff_v1", 130_527_814),
        ("medsegdiff_new", 129_400_450),
    ],
)
def test_the_preset_has_as_many_parameters_as_published(name: str, parameters: int) -> None:
    assert published_parameters(cast("Model", parse_part("models", name))) == parameters


def test_the_plain_unet_at_its_published_widths_has_as_many_parameters_as_known() -> None:
    """31,037,633 of the widely used torch U-Net for RGB images and one class."""
    assert unet.counted((64, 128, 256, 512, 1024), Ports(image=3, mask=0, out=1)) == 31_037_633


@pytest.mark.parametrize("name", DENOISE)
def test_a_plain_unet_is_as_large_as_the_network_it_is_compared_with(name: str) -> None:
    wanted = published_parameters(cast("Model", parse_part("models", name)))
    ports = small(name).published
    assert wanted is not None
    assert ports is not None
    found = unet.counted(unet.widths(wanted, 5, ports), ports)
    assert 0.99 * wanted < found <= wanted


@pytest.mark.parametrize("ports", BOTH)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_output_has_one_finite_map_per_channel_at_any_allowed_size(
    name: str, times: int, ports: Ports
) -> None:
    side = times * max(8, small(name).stride)
    assert side % small(name).stride == 0
    out = built(name, ports)(*inputs(ports, side=side))
    assert out.main.shape == (3, ports.out, side, side)
    assert out.main.isfinite().all()
    assert (out.auxiliary is not None) == small(name).auxiliary
    if out.auxiliary is not None:
        assert out.auxiliary.shape == (3, ports.classes, side, side)


@pytest.mark.parametrize("name", ALL)
def test_a_case_does_not_depend_on_its_batch(name: str) -> None:
    network = built(name)
    mask, t, image = inputs(side=side(name))
    alone = [network(mask[i : i + 1], t[i : i + 1], image[i : i + 1]).main for i in range(3)]
    torch.testing.assert_close(network(mask, t, image).main, torch.cat(alone), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("ports", BOTH)
@pytest.mark.parametrize("name", ALL)
def test_every_parameter_learns(name: str, ports: Ports) -> None:
    network = built(name, ports).train()
    network.seed(torch.arange(3))
    out = network(*inputs(ports, side=side(name)))
    if out.main.requires_grad:
        other = 0.0 if out.auxiliary is None else out.auxiliary.square().sum()
        (out.main.square().sum() + other).backward()
    idle = [k for k, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    assert small(name).learns == bool(list(network.parameters()))


@pytest.mark.parametrize("ports", BOTH)
@pytest.mark.parametrize("name", ALL)
def test_the_image_matters(name: str, ports: Ports) -> None:
    network = built(name, ports)
    mask, t, image = inputs(ports, side=side(name))
    assert not torch.equal(network(mask, t, image).main, network(mask, t, image.flip(0)).main)


@pytest.mark.parametrize("name", DENOISE)
def test_mask_and_time_matter_to_what_denoises(name: str) -> None:
    network = built(name)
    mask, t, image = inputs()
    out = network(mask, t, image).main
    assert not torch.allclose(out, network(mask.flip(0), t, image).main)
    assert not torch.allclose(out, network(mask, 1 - t, image).main)


@pytest.mark.parametrize("name", DENOISE)
def test_the_image_only_twin_has_no_time_branch_and_no_mask_channel(name: str) -> None:
    network = built(name, BOTH[1])
    mask, t, image = inputs(BOTH[1])
    assert torch.equal(network(mask, t, image).main, network(mask, 1 - t, image).main)
    more = sum(p.numel() for p in built(name).parameters())
    assert sum(p.numel() for p in network.parameters()) < more


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_features_computed_once_change_nothing_to_the_last_bit(name: str) -> None:
    network = built(name)
    mask, t, image = inputs(side=side(name))
    features = network.features(image)
    again = network(mask, t, image, features)
    for a, b in zip(network(mask, t, image), again, strict=True):
        assert a is b is None or torch.equal(torch.as_tensor(a), torch.as_tensor(b))


@pytest.mark.parametrize("name", ["segdiff", "medsegdiff_new"])
def test_what_depends_on_the_image_only_is_read_from_the_features(name: str) -> None:
    """A pass that is given features must not compute them again."""
    network = built(name)
    mask, t, image = inputs()
    features = network.features(image)
    network.features = None  # type: ignore[assignment]
    assert network(mask, t, image, features).main.shape == mask.shape


@pytest.mark.parametrize("name", DENOISE)
def test_a_training_pass_is_decided_by_the_cases_seeds(name: str) -> None:
    network = built(name).train()

    def out(seeds: list[int]) -> torch.Tensor:
        network.seed(torch.tensor(seeds))
        return torch.cat([x for x in network(*inputs())[:2] if x is not None], 1)

    first = out([1, 2, 3])
    assert torch.equal(first, out([1, 2, 3]))
    assert torch.equal(first, out([4, 5, 6])) == (not small(name).auxiliary)


@pytest.mark.parametrize("channels", [12, 48, 80, 132])
def test_any_multiple_of_four_channels_can_be_built(channels: int) -> None:
    spec = {"ensemdiff": {"channels": channels, "multipliers": [1, 2, 4], "blocks": 1}}
    with torch.device("meta"):
        cast("Model", parse_part("models", spec)).build(BOTH[0])


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("ensemdiff", {"channels": 6}, "channels=6 must be a positive multiple of 4"),
        ("segdiff", {"dense_blocks": 0}, "dense_blocks=0 must be positive"),
        ("medsegdiff_v1", {"map_size": 100}, "map_size=100 must be a positive multiple of 16"),
        ("medsegdiff_new", {"multipliers": [1, 2]}, "must have at least 4 levels"),
        ("unet", {"parameters": 100}, "parameters=100 must be at least 9216 with levels=5"),
    ],
)
def test_a_shape_that_cannot_be_built_is_named(
    name: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        parse_part("models", {name: fields})
