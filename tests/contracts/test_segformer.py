"""SegFormer is the library's own network, trained by our loop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from torch.nn.functional import interpolate

from tests.conftest import SMALL, Segprint
from trainables.config import Config
from trainables.models import Model, Ports, published_parameters
from trainables.models.segformer import SIZES, SegFormer
from trainables.parsing import parse_part
from trainables.part import identity, plain
from trainables.runtime.seeding import generator
from trainables.runtime.worker_context import WorkerContext
from trainables.training.loop import train

INSTALLED = SegFormer().installed
needs_it = pytest.mark.skipif(
    not INSTALLED, reason="SegFormer was not tested: pip install 'segprint[baselines]'"
)
RUN = {**SMALL, "model": "segformer", "mode": "feedforward"}
RUN["task"] = {"synthetic": {"size": 64, "cases": 4}}


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without the extra."""
    monkeypatch.setitem(sys.modules, "transformers", None)


def model(**fields: Any) -> Model:
    return cast("Model", parse_part("models", {"segformer": fields}))


@needs_it
@pytest.mark.parametrize(
    ("variant", "millions"),
    [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b3", 47.3), ("b4", 64.1), ("b5", 84.7)],
)
def test_every_variant_has_as_many_parameters_as_in_the_papers_table(
    variant: str, millions: float
) -> None:
    found = published_parameters(model(variant=variant))
    assert found is not None
    assert found / 1e6 == pytest.approx(millions, abs=0.1)


@needs_it
@torch.no_grad()
def test_logits_are_the_librarys_own_interpolated_to_the_images_size() -> None:
    import transformers  # pyright: ignore

    torch.manual_seed(0)
    network = model().build(Ports(3, 0, 5)).eval()
    theirs = transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(num_labels=5)
    ).eval()
    theirs.load_state_dict(network.inner.state_dict())  # type: ignore[union-attr]
    image = torch.randn(2, 3, 64, 96)
    low = theirs(image).logits
    assert low.shape[-2:] == (16, 24)
    expected = interpolate(low, (64, 96), mode="bilinear", align_corners=False)
    found = network(torch.zeros(2, 0, 64, 96), torch.zeros(2), image).main
    torch.testing.assert_close(found, expected)


@needs_it
def test_a_training_pass_is_decided_by_the_cases_seeds_alone() -> None:
    network = model(drop_path=0.5).build(Ports(3, 0, 2)).train()
    image = torch.randn(3, 3, 64, 64)

    def out(seeds: list[int]) -> torch.Tensor:
        network.seed(torch.tensor(seeds))
        return network(torch.zeros(3, 0, 64, 64), torch.zeros(3), image).main

    first = out([1, 2, 3])
    assert torch.equal(first, out([1, 2, 3]))
    assert not torch.equal(first, out([4, 5, 6]))


@needs_it
def test_it_trains_and_goes_on_from_a_checkpoint_to_the_same_numbers(
    small: Callable[..., Config],
) -> None:
    config = small(**RUN)
    checkpoint = None
    scores: list[float | None] = []
    for progress in train(config, WorkerContext()):
        scores.append(progress.score)
        checkpoint = checkpoint or progress.save()
    again = [progress.score for progress in train(config, WorkerContext(), checkpoint)]
    assert again == scores[1:]


def test_the_head_is_trained_faster_and_normalisations_do_not_decay() -> None:
    if not INSTALLED:
        pytest.skip("SegFormer was not tested: pip install 'segprint[baselines]'")
    with torch.device("meta"):
        network = model().build(Ports(3, 0, 150))
    body, norms, head = model().groups(network)
    count = {"body": body, "norms": norms, "head": head}
    sizes = {k: sum(p.numel() for p in v["params"]) for k, v in count.items()}
    assert sum(sizes.values()) == published_parameters(model())
    assert sizes["head"] == pytest.approx(0.4e6, rel=0.1)
    assert (head["rate"], norms["weight_decay"]) == (10.0, 0.0)
    assert all(p.ndim == 1 for p in norms["params"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained classifier, as the hub has it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("mit-b0")
    torch.manual_seed(generator("pretrained").initial_seed())
    transformers.SegformerForImageClassification(transformers.SegformerConfig()).save_pretrained(
        folder
    )
    return folder


@needs_it
@pytest.mark.parametrize("channels", [1, 3])
def test_a_pretrained_encoder_is_taken_whole(saved: Path, channels: int) -> None:
    import safetensors.torch

    ours = model(pretrained=str(saved)).build(Ports(channels, 0, 2)).eval()
    theirs = safetensors.torch.load_file(saved / "model.safetensors")
    found = ours.inner.segformer.state_dict()  # type: ignore[union-attr]
    prefix = "segformer."
    stored = {k.removeprefix(prefix): v for k, v in theirs.items() if k.startswith(prefix)}
    values = sorted(float(v.double().sum()) for v in found.values())
    assert values == sorted(float(v.double().sum()) for v in stored.values())
    image = torch.randn(1, channels, 64, 64)
    assert ours(torch.zeros(1, 0, 64, 64), torch.zeros(1), image).main.shape == (1, 2, 64, 64)


@needs_it
def test_pretrained_weights_are_known_by_their_content(saved: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in saved.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    first, second = model(pretrained=str(saved)), model(pretrained=str(moved))
    assert identity(first) == identity(second) != identity(model())
    hash_ = first.pretrained_hash  # type: ignore[attr-defined]
    weights = moved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert identity(model(pretrained=str(moved))) != identity(first)
    with pytest.raises(ValueError, match="is not the hash of"):
        model(pretrained=str(moved), pretrained_hash=hash_)
    weights.unlink()  # a record is readable where the weights are not
    kept = model(pretrained=str(moved), pretrained_hash=hash_)
    with pytest.raises(ValueError, match=r"must be a directory with model\.safetensors"):
        kept.build(Ports(3, 0, 2))


@needs_it
def test_weights_of_another_variant_are_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"is no MiT-B1 for 3 channels: \d+ weights are missing"):
        model(pretrained=str(saved), variant="b1").build(Ports(3, 0, 2))


class Hub(BaseHTTPRequestHandler):
    """One file, as the hub serves it."""

    weights: ClassVar[bytes]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.weights)

    def _answer(self, body: bytes) -> None:
        self.asked.append(self.path)
        there = self.path == "/lab/mit-b0/resolve/main/model.safetensors"
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", '"of-the-weights"')
            self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(self.weights) if there else 0))
        self.end_headers()
        self.wfile.write(body if there else b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine with the saved weights, and an empty cache; what it was asked for."""
    constants = pytest.importorskip("huggingface_hub").constants
    Hub.weights, Hub.asked = (saved / "model.safetensors").read_bytes(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    end = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", end)
    template = f"{end}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    yield Hub.asked
    server.shutdown()
    server.server_close()


@needs_it
def test_weights_of_the_hub_are_fetched_once_and_known_by_content(
    hub: list[str], saved: Path
) -> None:
    found = model(pretrained="lab/mit-b0")
    assert identity(found) == identity(model(pretrained=str(saved)))
    assert plain(found)["segformer"]["pretrained"] == "lab/mit-b0"
    asked = len(hub)
    assert asked > 0
    again = model(pretrained="lab/mit-b0").build(Ports(3, 0, 2))
    here = model(pretrained=str(saved)).build(Ports(3, 0, 2))
    for one, other in zip(*(n.inner.segformer.parameters() for n in (again, here)), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)
    assert len(hub) == asked


@needs_it
@pytest.mark.parametrize("offline", [True, False])
def test_what_the_hub_does_not_give_is_one_line(
    hub: list[str], offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(ValueError, match=r"pretrained='lab/no' is no directory here, and the hub"):
        model(pretrained="lab/no")
    assert bool(hub) != offline
    known = model(pretrained="lab/no", pretrained_hash="0" * 64)  # a record is readable
    assert plain(known)["segformer"]["pretrained"] == "lab/no"


def test_a_directory_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"must be a directory with model\.safetensors"):
        model(pretrained=str(tmp_path))


def test_it_is_refused_as_a_diffusion_model(small: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match="segformer sees no noisy mask: mode diffusion must be"):
        small(**{**RUN, "mode": "diffusion"})


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("verb", ["run", "sweep"])
def test_without_the_extra_choosing_it_is_one_line_and_the_rest_works(
    verb: str, inline: Segprint, tmp_path: Path
) -> None:
    text = f"from search_spaces import *\nSPACE = Space(question='?', config={RUN!r})\n"
    (tmp_path / "mine.py").write_text(text)
    done = inline(verb, "./mine.py")
    assert done.returncode == 2
    assert done.stderr == (
        "segprint: model segformer needs transformers, which is not installed:"
        " pip install 'segprint[baselines]'\n"
    )
    assert inline("plan", "./mine.py").returncode == 0
    assert "segformer" in inline("ls", "models").stdout
    assert published_parameters(model()) is None
    assert set(SIZES) == {"b0", "b1", "b2", "b3", "b4", "b5"}
