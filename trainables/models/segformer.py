"""SegFormer: the MiT transformer and its MLP head, from the library transformers."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

from trainables.layers.batchnorm import BatchNorm2d
from trainables.layers.dropout import Dropout2d, DropPath
from trainables.models import Features, Model, Network, Output, Ports, library, require_installed
from trainables.part import Location, require

WEIGHTS = "model.safetensors"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


class Size(NamedTuple):
    """The sizes of a variant (Xie et al. 2021, arXiv 2105.15203, tables 1 and 6)."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head: int


SIZES = {
    "b0": Size((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": Size((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": Size((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": Size((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": Size((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": Size((64, 128, 320, 512), (3, 6, 40, 3), 768),
}


@dataclass(frozen=True)
class SegFormer(Model):
    """Xie et al. 2021 (arXiv 2105.15203); the logits, at a quarter of the size, are interpolated.

    Weights are random, or the encoder is loaded from ``pretrained``: a directory written by
    transformers with a ``model.safetensors`` of this variant, or the id of a model on the Hugging
    Face hub (``ORGANISATION/NAME``), which is fetched once into the hub's cache. A grey image is
    repeated in the three input channels of a pretrained encoder. ``pretrained_hash`` identifies the
    weights by their content and is computed where it is empty. No pickled file is read.
    """

    published: ClassVar = Ports(image=3, mask=0, out=150)
    denoises: ClassVar = False
    package: ClassVar = "transformers"

    variant: Literal["b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    """The size of the encoder, MiT-B0 to B5."""
    pretrained: Location | None = None
    """The directory of pretrained weights; null: random weights."""
    pretrained_hash: str = ""
    """SHA-256 of the file of the pretrained weights."""
    drop_path: float = 0.1
    """The probability that a case skips the last block; it is smaller for earlier blocks."""
    dropout: float = 0.1
    """The probability that a channel before the last layer is dropped, as in the authors' code."""
    head_rate: float = 10.0
    """The factor of the learning rate for the head."""

    def __post_init__(self) -> None:
        for name in ("drop_path", "dropout"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{name}={value} must lie in [0, 1)")
        require(self.head_rate > 0, f"head_rate={self.head_rate} must be positive")
        if self.pretrained is None:
            require(not self.pretrained_hash, "pretrained_hash needs pretrained, a directory")
            return
        file = self._weights_file(fetch=not self.pretrained_hash)
        if file.is_file() or not self.pretrained_hash:
            self._check_hash(file)

    def _weights_file(self, fetch: bool) -> Path:
        """Return the path of the weights; those on the hub are fetched or looked up in its cache.

        Raises:
            ValueError: the hub does not provide them.
        """
        directory = Path(str(self.pretrained)).expanduser()
        if directory.exists() or not HUB_ID.fullmatch(str(self.pretrained)):
            return directory / WEIGHTS
        if not fetch and not self.installed:
            return directory / WEIGHTS
        require_installed(self)
        return _of_hub(str(self.pretrained), fetch) or directory / WEIGHTS

    def _check_hash(self, file: Path) -> None:
        """Compute the hash of the weights, and compare it with the configured one.

        Raises:
            ValueError: the file does not exist, or its hash differs.
        """
        require(
            file.is_file(),
            f"pretrained={str(self.pretrained)!r} must be a directory with {WEIGHTS}, or the id of"
            " a model on the hub",
        )
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        known = self.pretrained_hash or found
        require(
            known == found,
            f"pretrained_hash={known!r} is not the hash of {str(self.pretrained)!r}, {found!r}",
        )
        object.__setattr__(self, "pretrained_hash", found)

    @property
    def stride(self) -> int:
        return 32

    def build(self, ports: Ports) -> Network:
        channels = 3 if self.pretrained is not None and ports.image == 1 else ports.image
        size = SIZES[self.variant]
        config = library(self).SegformerConfig(
            num_channels=channels,
            num_labels=ports.out,
            hidden_sizes=list(size.widths),
            depths=list(size.depths),
            decoder_hidden_size=size.head,
            drop_path_rate=self.drop_path,
            classifier_dropout_prob=self.dropout,
        )
        inner = library(self).SegformerForSemanticSegmentation(config)
        if self.pretrained is not None:
            inner.segformer.load_state_dict(self._encoder(config))
        _replace_draws(inner)
        return SegFormerNetwork(inner, channels)

    def _encoder(self, config: Any) -> dict[str, Tensor]:
        """Return the weights of the pretrained encoder.

        Raises:
            ValueError: they are absent, or of another variant or number of channels.
        """
        file = self._weights_file(fetch=True)
        self._check_hash(file)
        encoder, loading = library(self).SegformerModel.from_pretrained(
            str(file.parent),
            config=config,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        wrong = [*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])]
        require(
            not wrong,
            f"pretrained={str(self.pretrained)!r} is no MiT-{self.variant.upper()} for"
            f" {config.num_channels} channels: {len(wrong)} weights are missing or of another"
            f" shape, {wrong[:1]} first",
        )
        return encoder.state_dict()

    def groups(self, network: Network) -> list[dict[str, Any]]:
        """Return the published groups: a faster head, and normalisations without weight decay."""
        named = list(network.named_parameters())
        head = [p for name, p in named if ".decode_head." in name]
        body = [(name, p) for name, p in named if ".decode_head." not in name]
        return [
            {"params": [p for name, p in body if "norm" not in name]},
            {"params": [p for name, p in body if "norm" in name], "weight_decay": 0.0},
            {"params": head, "rate": self.head_rate},
        ]


class SegFormerNetwork(Network):
    """A SegFormer whose input is the image."""

    def __init__(self, inner: nn.Module, channels: int) -> None:
        super().__init__()
        self.inner, self.channels = inner, channels

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        shown = image_BCHW
        if shown.shape[1] == 1:
            shown = shown.expand(-1, self.channels, -1, -1)
        logits = self.inner(pixel_values=shown).logits
        side = image_BCHW.shape[-2:]
        return Output(interpolate(logits, side, mode="bilinear", align_corners=False))


def _of_hub(name: str, fetch: bool) -> Path | None:
    """Return the file of the weights in the hub's cache; None if it is absent and not fetched."""
    hub = importlib.import_module("huggingface_hub")  # a dependency of transformers
    cached: Any = hub.try_to_load_from_cache(name, WEIGHTS)
    if isinstance(cached, str):
        return Path(cached)
    if not fetch:
        return None
    try:
        return Path(hub.hf_hub_download(name, WEIGHTS))
    except Exception as error:  # errors of the network, the hub or the disk
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ValueError(
            f"pretrained={name!r} is no directory here, and the hub does not provide its {WEIGHTS}:"
            f" {why}"
        ) from None


def _replace_draws(inner: nn.Module) -> None:
    """Replace layers whose draws or statistics would depend on the number of workers."""
    for owner, name, module in list(_children(inner)):
        if type(module).__name__ == "SegformerDropPath":
            setattr(owner, name, DropPath(module.drop_prob))
        elif isinstance(module, nn.Dropout):
            setattr(owner, name, Dropout2d(module.p) if module.p else nn.Identity())
        elif isinstance(module, nn.BatchNorm2d):
            norm = BatchNorm2d(module.num_features, module.eps, module.momentum)
            norm.load_state_dict(module.state_dict())
            setattr(owner, name, norm)


def _children(root: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    for owner in root.modules():
        for name, module in owner.named_children():
            yield owner, name, module
