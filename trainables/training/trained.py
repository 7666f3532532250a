"""Trained networks as content: the weights as safetensors, and a JSON record that explains them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypedDict

import safetensors.torch
from torch import Tensor

from trainables.config import Config, parse
from trainables.decoding.cache import load
from trainables.models import Network
from trainables.part import parts_in
from trainables.trainer import TrainingRecord
from trainables.trusted_files import only_trusted


class WeightsError(ValueError):
    """Weights that are missing, damaged or foreign; the message names them by their hash."""


class DataFacts(TypedDict):
    """What predictions on new images need to know of the training data."""

    task: str
    """The title of the data set."""
    classes: list[str]
    """Class names, background first."""
    channels: int
    types: list[str]
    """The types of the stored values: ``uint8``, ``uint16``, ``int16`` or ``float32``."""
    mean: list[float]
    """Mean of the training images, per channel."""
    std: list[float]
    content_hash: str


def facts_of(config: Config) -> DataFacts:
    """Return the facts of the data of a config."""
    loaded = load(config.task)
    return DataFacts(
        task=config.task.title,
        classes=list(config.task.classes),
        channels=config.task.channels,
        types=sorted({image.pixels.dtype.name for image in loaded.images}),
        mean=loaded.mean.tolist(),
        std=loaded.std.tolist(),
        content_hash=loaded.content_hash,
    )


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` unless stored facts are complete and of their types."""
    if facts.keys() != DataFacts.__annotations__.keys():
        raise TypeError("its facts of the training data are not complete")
    texts = [facts["task"], facts["content_hash"], *facts["classes"], *facts["types"]]
    numbers = [facts["channels"], *facts["mean"], *facts["std"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("the names in its facts of the training data must be texts")
    if not all(isinstance(number, (int, float)) for number in numbers):
        raise TypeError("the numbers in its facts of the training data must be numbers")
    if not len(facts["mean"]) == len(facts["std"]) == facts["channels"]:
        raise TypeError("its facts of the training data must have a mean and a std per channel")


@dataclass(frozen=True)
class Trained:
    """The weights of a training with the best validation, and the record of the training."""

    training: str
    """The digest of the training (:attr:`trainables.config.Config.training_digests`)."""
    config: Mapping[str, Any]
    """The plain config of the training, which rebuilds the network."""
    versions: Mapping[str, int | str]
    """The formula version of every part, by kind and name."""
    data: DataFacts
    """What predictions on new images need to know of the training data."""
    record: Mapping[str, Any]
    """The fields of :class:`trainables.trainer.TrainingRecord`: validations and times."""
    sha256: str
    """The hash of the weights."""
    tensors: bytes = b""
    """The weights in the format safetensors."""

    @staticmethod
    def of(config: Config, training: str, network: Network, record: TrainingRecord) -> Trained:
        """Return the weights of a network that was trained with a config."""
        tensors = to_safetensors(network)
        return Trained(
            training,
            config.plain(),
            versions_of(config),
            facts_of(config),
            dataclasses.asdict(record),
            hashlib.sha256(tensors).hexdigest(),
            tensors,
        )

    def header(self) -> bytes:
        """Return the record as JSON, without the weights; :meth:`parse` is its inverse."""
        content = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "tensors"
        }
        return json.dumps({**content, "size": len(self.tensors)}, sort_keys=True).encode()

    @staticmethod
    def parse(header: bytes, tensors: bytes = b"") -> Trained:
        """Read a record, with the weights where they are given.

        Raises:
            WeightsError: the record does not parse, or the weights do not have its hash.
        """
        try:
            content: dict[str, Any] = json.loads(header)
            content.pop("size", None)
            trained = Trained(**content, tensors=tensors)
            TrainingRecord(**trained.record)
            _check_facts(trained.data)
        except (ValueError, TypeError, AttributeError) as error:
            raise WeightsError(f"the record of weights does not parse: {error}") from None
        if tensors:
            trained.verify()
        return trained

    def verify(self) -> None:
        """Raise :class:`WeightsError` unless the weights have the hash of the record."""
        actual = hashlib.sha256(self.tensors).hexdigest()
        if actual != self.sha256:
            raise WeightsError(
                f"weights {self.sha256[:16]} of training {self.training} are damaged: their"
                f" hash is {actual[:16]}"
            )

    @cached_property
    def training_record(self) -> TrainingRecord:
        """The record of the training."""
        return TrainingRecord(**self.record)

    def check_versions(self, config: Config) -> None:
        """Raise :class:`WeightsError` if the formula of the network or the mode has changed."""
        for part in (config.model, config.mode):
            name = f"{part.kind}/{part.name}"
            stored = self.versions.get(name, part.version)
            if stored != part.version:
                raise WeightsError(
                    f"weights {self.sha256[:16]} were trained with version {stored} of {name},"
                    f" this code has version {part.version}"
                )

    def load_into(self, network: Network) -> None:
        """Copy the weights into a network of the same architecture.

        Raises:
            WeightsError: they are damaged, or belong to another architecture.
        """
        self.verify()
        try:
            state = safetensors.torch.load(self.tensors)
            network.load_state_dict(state)
        except Exception as error:  # safetensors raises classes of its own
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(
                f"weights {self.sha256[:16]} do not fit the network: {reason}"
            ) from None

    def network(self, trusted: Iterable[str] = ()) -> Network:
        """Rebuild the network on the CPU, ready to predict.

        ``trusted`` are the user's own files that may be run for it.
        """
        with only_trusted(trusted):
            config = parse(self.config)
        network = config.model.build(config.ports)
        self.load_into(network)
        return network.eval().requires_grad_(False)


def versions_of(config: Config) -> dict[str, int | str]:
    """Return the formula version of every part, by kind and name."""
    return {f"{p.kind}/{p.name}": p.version for p in parts_in(config)}


def to_safetensors(network: Network) -> bytes:
    """Return the weights of a network in the format safetensors."""
    state: dict[str, Tensor] = network.state_dict()
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    return safetensors.torch.save(copies)


def weights_hash(network: Network) -> str:
    """Return the hash of the weights of a network."""
    return hashlib.sha256(to_safetensors(network)).hexdigest()


class Shelf(Protocol):
    """Where weights are kept."""

    @property
    def trains(self) -> bool:
        """Whether networks are trained whose weights are not kept."""
        ...

    def weights(self, training: str) -> Trained | None:
        """Return the kept weights of a training; None if there are none that can be used.

        Raises:
            WeightsError: there are none, and nothing is trained.
        """
        ...

    def keep_weights(self, trained: Trained) -> Trained:
        """Keep weights; return those that count, which another process may have kept first."""
        ...
