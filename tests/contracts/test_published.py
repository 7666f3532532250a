"""Published checkpoints import: reference code with the published names gives the same outputs.

The checkpoints are those of small reference networks (:mod:`tests.originals`), drawn at random and
saved under the names and in the layouts of the published programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

import orchestrator
from tests.conftest import Segprint
from tests.originals import (
    DenseEncoder,
    FeedForward,
    FrequencyGate,
    GuidedUNet,
    SelfAttention,
    Up,
)
from trainables.config import Config, parse
from trainables.models import Network
from trainables.training.published import imported, read_tensors
from trainables.training.trained import WeightsError

SIDE = 16
SHAPE: dict[str, Any] = {"multipliers": [1, 1, 2, 2], "blocks": 1, "attention": [4], "heads": 2}
DENSE = {"dense_blocks": 2, "dense_features": 16, "dense_growth": 8}
MODELS: dict[str, dict[str, Any]] = {
    "ensemdiff": SHAPE,
    "segdiff": {**SHAPE, "heads": 4, **DENSE},
    "medsegdiff_new": SHAPE,
    "medsegdiff_v1": {**SHAPE, "map_size": SIDE},
}
LAST = {"ensemdiff": 999, "segdiff": 99, "medsegdiff_new": 999, "medsegdiff_v1": 999}
COLOUR = '''"""Three channels of noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trainables.datasets import Dataset, Source, in_noise


@dataclass(frozen=True)
class Colour(Dataset):
    licence: ClassVar[str] = "none needed"
    citation: ClassVar[str] = "generated"
    size: int = 16

    @property
    def classes(self) -> tuple[str, ...]:
        return ("background", "lesion")

    @property
    def channels(self) -> int:
        return 3

    def scan(self) -> Iterator[Source]:
        raise AssertionError("an import needs no data")
'''


def plain(name: str, task: str, **fields: Any) -> dict[str, Any]:
    """A config of a published network; the learned variance has a second output."""
    loss = "mse" if name == "segdiff" else "hybrid"
    mode = {"target": "eps", "loss": loss, "sampler": {"ddim": {"steps": 2}}, "members": 2}
    return {
        "task": {task: {}},
        "model": {name: {**MODELS[name], **fields}},
        "mode": {"diffusion": mode},
    }


def unet_names(unet: GuidedUNet) -> dict[str, Tensor]:
    """The tensors of the guided-diffusion U-Net under their published names."""
    state: dict[str, Tensor] = {}

    def put(name: str, layer: nn.Module, flat: bool = False) -> None:
        for end, value in layer.state_dict().items():
            convolution_over_sequence = flat and value.ndim == 4
            state[f"{name}.{end}"] = value.squeeze(-1) if convolution_over_sequence else value

    def put_layer(name: str, layer: nn.Module) -> None:
        if isinstance(layer, SelfAttention):
            put(f"{name}.norm", layer.norm)
            put(f"{name}.qkv", layer.qkv, flat=True)
            put(f"{name}.proj_out", layer.out, flat=True)
        elif isinstance(layer, nn.Conv2d):
            put(f"{name}.{'conv' if isinstance(layer, Up) else 'op'}", layer)
        else:
            block: Any = layer
            put(f"{name}.in_layers.0", block.n1)
            put(f"{name}.in_layers.2", block.c1)
            put(f"{name}.emb_layers.1", block.time)
            put(f"{name}.out_layers.0", block.n2)
            put(f"{name}.out_layers.3", block.c2)
            if block.skip is not None:
                put(f"{name}.skip_connection", block.skip)

    put("time_embed.0", unet.t1)
    put("time_embed.2", unet.t2)
    put("input_blocks.0.0", unet.stem)
    for blocks, first, name in ((unet.encoder, 1, "input"), (unet.decoder, 0, "output")):
        for i, layers in enumerate(blocks):
            for j, layer in enumerate(cast("nn.ModuleList", layers)):
                put_layer(f"{name}_blocks.{first + i}.{j}", layer)
    for j, layer in enumerate(unet.middle):
        put_layer(f"middle_block.{j}", layer)
    put("out.0", unet.norm)
    put("out.2", unet.head)
    return state


def dense_names(encoder: DenseEncoder) -> dict[str, Tensor]:
    layers = {
        "conv_first": encoder.first,
        "trunk_conv": encoder.trunk,
        "HRconv": encoder.high,
        "conv_last": encoder.last,
    }
    for i, dense in enumerate(encoder.dense):
        for k, layer in enumerate(cast("nn.ModuleList", dense)):
            layers[f"RRDB_trunk.{i // 3}.RDB{i % 3 + 1}.conv{k + 1}"] = cast("nn.Conv2d", layer)
    return {
        f"rrdb.{name}.{end}": value
        for name, layer in layers.items()
        for end, value in layer.state_dict().items()
    }


def highway_names(highway: FeedForward) -> dict[str, Tensor]:
    stages: dict[str, Any] = {}
    for d, stage in enumerate(highway.down):
        stages[f"conv_blocks_context.{d}.blocks.%d"] = stage
    stages[f"conv_blocks_context.{len(highway.down)}.%d.blocks.0"] = highway.bottom
    for u, stage in enumerate(highway.up):
        stages[f"conv_blocks_localization.{u}.%d.blocks.0"] = stage
    state = {"hwm.seg_outputs.0.weight": highway.head.weight}
    for pattern, stage in stages.items():
        pairs = ((stage.c1, stage.n1), (stage.c2, stage.n2))
        for i, (convolution, norm) in enumerate(pairs):
            for kind, layer in (("conv", convolution), ("instnorm", norm)):
                for end, value in layer.state_dict().items():
                    state[f"hwm.{pattern % i}.{kind}.{end}"] = value
    return state


def gate_names(gates: nn.ModuleList) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for d, each in enumerate(gates):
        gate = cast("FrequencyGate", each)
        for letter, layer in (("a", gate.squeeze), ("b", gate.spatial)):
            for end, value in layer.state_dict().items():
                state[f"hwm.conv_trans_blocks_{letter}.{d}.{end}"] = value
        state[f"hwm.ffparser.{d}.complex_weight"] = gate.complex_map.permute(1, 2, 3, 0)
    return state


def randomised(module: nn.Module) -> Any:
    """Draw every tensor, so that no layer is the zero with which it begins."""
    torch.manual_seed(3)
    for layer in module.modules():
        layer.by_head = True  # type: ignore[assignment]
    for key, value in module.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif "bias" in key or "mean" in key:
            value.normal_(std=0.1)
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return module.eval()


Forward = Callable[[Tensor, Tensor, Tensor, Network], Tensor]


def large(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear")


def reference(name: str) -> tuple[dict[str, Tensor], Forward]:
    """A published network: its checkpoint, and its output for mask, image and integer step."""
    inputs, outputs, heads = (1, 1, 4) if name == "segdiff" else (4, 2, 2)
    unet: GuidedUNet = randomised(
        GuidedUNet(inputs, outputs, 128, [1, 1, 2, 2], 1, [4], heads=heads)
    )
    state = unet_names(unet)
    if name == "ensemdiff":
        return state, lambda mask, image, i, _: unet(unet.stem(torch.cat([image, mask], 1)), i)
    if name == "segdiff":
        dense: DenseEncoder = randomised(DenseEncoder(3, 128, 2, 16, 8))
        return state | dense_names(dense), lambda mask, image, i, _: unet(
            unet.stem(mask) + dense(image), i
        )
    highway: FeedForward = randomised(FeedForward(3, 1, 32))
    state |= highway_names(highway)
    if name == "medsegdiff_new":

        def new(mask: Tensor, image: Tensor, i: Tensor, _: Network) -> Tensor:
            _, _, half, quarter = highway.decode(*highway.encode(image, []))
            maps = torch.cat([large(half, 2), large(half, 2), large(quarter, 4)], 1)
            return unet(unet.stem(torch.cat([image, mask], 1)) + maps, i)

        return state, new
    widths = ((128, 32, 8), (128, 64, 4), (256, 128, 2))
    gates: nn.ModuleList = randomised(nn.ModuleList(FrequencyGate(*width) for width in widths))
    state |= gate_names(gates)

    def v1(mask: Tensor, image: Tensor, i: Tensor, network: Network) -> Tensor:
        drawn: Any = network.get_submodule("projection")

        def bottleneck(pooled: list[Tensor]) -> Tensor:
            each = [gate(h) for gate, h in zip(gates, pooled, strict=True)]
            return drawn(highway.encode(image, each)[0])

        return unet(unet.stem(torch.cat([image, mask], 1)), i, bottleneck)

    return state, v1


@pytest.fixture
def task(tmp_path: Path) -> str:
    path = tmp_path / "colour.py"
    path.write_text(COLOUR)
    return str(path)


def config_of(name: str, task: str, **fields: Any) -> Config:
    return parse(plain(name, task, **fields))


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("name", MODELS)
def test_an_imported_network_computes_what_the_published_one_does(
    name: str, suffix: str, task: str, tmp_path: Path
) -> None:
    state, forward = reference(name)
    file = tmp_path / f"saved.{suffix}"
    if suffix == "pt":
        torch.save({f"module.{key}": value for key, value in state.items()}, file)
    else:
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, file)
    found = imported(file, config_of(name, task))
    network = found.trained.network([task])
    assert found.trained.training.startswith("imported-")
    assert set(found.drawn) == (
        {"projection.weight", "projection.bias"} if name == "medsegdiff_v1" else set()
    )
    draws = torch.Generator().manual_seed(1)
    mask, image = (torch.randn(2, c, SIDE, SIDE, generator=draws) for c in (1, 3))
    step = torch.tensor([7, LAST[name]])
    expected = forward(mask, image, step, network)
    assert expected.std() > 0.1, "an output without contrast would hide a fault"
    actual = network(mask, step / LAST[name], image).main
    assert float((actual - expected).abs().max() / expected.abs().max()) < 1e-5


@torch.no_grad()
def test_rows_in_another_order_of_heads_would_show(task: str, tmp_path: Path) -> None:
    state, forward = reference("segdiff")
    torch.save(state, tmp_path / "saved.pt")
    good = imported(tmp_path / "saved.pt", config_of("segdiff", task)).trained.network([task])
    bad = imported(tmp_path / "saved.pt", config_of("segdiff", task, heads=1)).trained.network(
        [task]
    )
    draws = torch.Generator().manual_seed(1)
    mask, image = (torch.randn(2, c, SIDE, SIDE, generator=draws) for c in (1, 3))
    step = torch.tensor([7, 99])
    expected = forward(mask, image, step, good)
    assert float((bad(mask, step / 99, image).main - expected).abs().max()) > 1e-2


def space(folder: Path, name: str, task: str) -> str:
    """A file with the space of one published network."""
    file = folder / "published.py"
    file.write_text(
        "from search_spaces import Space\n\n"
        f"SPACE = Space(question='?', config={plain(name, task)!r})\n"
    )
    return str(file)


@pytest.mark.slow
def test_an_imported_checkpoint_predicts_from_python_and_the_command_line(
    task: str, tmp_path: Path, inline: Segprint, segprint: Segprint
) -> None:
    state, _ = reference("segdiff")
    torch.save(state, tmp_path / "ema.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, 20, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    config = space(tmp_path, "segdiff", task)
    ended = inline("weights", "import", "ema.pt", "--config", config, "-o", "s.safetensors")
    assert ended.returncode == 0, ended.stderr
    about = json.loads((tmp_path / "s.json").read_text())
    assert about["imported"]["file"] == "ema.pt"
    assert about["data"]["mean"] == [142.07, 98.48, 132.96]
    ended = inline("predict", "s.safetensors", "a.png", "-o", "out", "--trust", task)
    assert ended.returncode == 0, ended.stderr
    model = orchestrator.load("s.safetensors", trust=[task])
    (found,) = model.predict([pixels.transpose(2, 0, 1)])
    with PIL.Image.open(tmp_path / "out" / "masks" / "a.png") as mask:
        assert np.asarray(mask).shape == (SIDE, 20) == found.labels.shape
    record = json.loads((tmp_path / "out" / "records" / "a.json").read_text())
    assert record["trial"].startswith("imported-")
    # Another reading of the same weights is another identity: nothing counts as predicted before.
    command = ["weights", "import", "ema.pt", "--config", config, "-o", "s.safetensors"]
    assert inline(*command, "--set", "mode.diffusion.members=1").returncode == 0
    again = inline("predict", "s.safetensors", "a.png", "-o", "out", "--trust", task)
    assert "predicted before" not in again.stderr
    # A stored file names Python files that are not run unless they are trusted.
    refused = segprint("predict", "s.safetensors", "a.png", "-o", "other")
    assert refused.returncode == 2
    assert "colour.py" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def refusal(file: Path, config: Config, **normalisation: Any) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        imported(file, config, **normalisation)
    return str(raised.value)


def test_what_is_no_such_checkpoint_is_refused_in_one_line(task: str, tmp_path: Path) -> None:
    file, config = tmp_path / "saved.pt", config_of("ensemdiff", task)
    state, _ = reference("ensemdiff")

    def saved(content: Any) -> Path:
        torch.save(content, file)
        return file

    key = "input_blocks.1.0.in_layers.2.weight"
    assert f"lacks {key!r}" in refusal(saved({k: v for k, v in state.items() if k != key}), config)
    cut = {**state, key: state[key][:64]}
    assert re.search(
        rf"'{key}' has the shape \[64, 128, 3, 3\], must be \[128, 128, 3, 3\]",
        refusal(saved(cut), config),
    )
    assert "1 tensors that the network lacks, the first is 'label_emb.weight'" in refusal(
        saved({**state, "label_emb.weight": torch.zeros(2, 2)}), config
    )
    assert f"{key!r} has NaN" in refusal(saved({**state, key: state[key] * torch.nan}), config)
    assert "'step' must be a tensor, found int" in refusal(saved({**state, "step": 3}), config)
    assert "found list" in refusal(saved([1, 2]), config)
    whole = saved(state).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "is damaged, or holds more than tensors" in refusal(file, config)
    file.write_bytes(whole)
    narrow = config_of("ensemdiff", task, channels=64)
    assert "channels=64 must be a multiple of 128" in refusal(file, narrow)
    other = parse({**plain("ensemdiff", task), "model": "unet", "mode": "feedforward"})
    assert "unknown published network 'unet'" in refusal(file, other)
    default = parse({**plain("ensemdiff", task), "mode": "diffusion"})
    assert "mode.diffusion.target='x0' must be diffusion with target='eps'" in refusal(
        file, default
    )
    assert "--std 0 must be positive" in refusal(file, config, std=[0.0])
    assert "must be one number or 3" in refusal(file, config, mean=[0.0, 1.0])
    with pytest.raises(FileNotFoundError):
        imported(tmp_path / "absent.pt", config)


class Executed:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_holds_code_is_not_executed(tmp_path: Path) -> None:
    torch.save({"weight": Executed(tmp_path / "executed")}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="holds more than tensors, which is not read"):
        read_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()
