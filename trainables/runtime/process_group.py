"""The process group of a trial with several workers, and the failure of one that waits too long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as dist

GRACE_SECONDS = 10.0
"""Workers that wait for the same one notice it within so many seconds of each other, at most."""
TIMEOUT_TEXTS = ("Timed out waiting", "timeout caused pair closure", "operation timeout")
"""Parts of the messages of gloo and NCCL."""
LOST_PEER_TEXTS = ("Connection closed by peer", "Connection reset")


class PeerTimeoutError(RuntimeError):
    """A worker waited too long for others, which the message names."""


def lost_peer(error: BaseException) -> bool:
    """Return whether a worker lost its connection to another worker."""
    return any(text in str(error) for text in LOST_PEER_TEXTS)


def grace_of(seconds: float) -> float:
    """Return the seconds in which a worker looks which others wait too, after it waited itself."""
    return min(GRACE_SECONDS, seconds / 4)


@contextlib.contextmanager
def process_group(
    store: Any, rank: int, world: int, device: str, seconds: float
) -> Generator[None]:
    """Form the process group through a ``torch.distributed.TCPStore`` that rank 0 serves.

    NCCL is given the device of the worker; otherwise it guesses the device from the rank. Where an
    operation of NCCL reaches the limit, its watchdog ends the process (torch's default,
    ``TORCH_NCCL_ASYNC_ERROR_HANDLING=3``), and nothing is raised here.

    Raises:
        PeerTimeoutError: a collective operation did not end within ``seconds``.
    """
    on_gpu = device != "cpu"
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
        device_id=torch.device(device) if on_gpu else None,
    )
    try:
        yield
    except RuntimeError as error:
        expired = any(text in str(error) for text in TIMEOUT_TEXTS)
        if expired or lost_peer(error):
            with contextlib.suppress(RuntimeError):  # rank 0, which serves it, may be lost
                store.set(_key(rank), b"")
        if expired:
            raise _peer_timeout(store, rank, world, seconds) from error
        raise
    finally:
        dist.destroy_process_group()


def _peer_timeout(store: Any, rank: int, world: int, seconds: float) -> PeerTimeoutError:
    """Return the failure of a worker whose collective operation reached its time limit."""
    names = ", ".join(f"rank {r}" for r in _absent(store, rank, world, grace_of(seconds)))
    return PeerTimeoutError(
        f"rank {rank} of {world} waited {seconds:g} s for {names or 'the others, which wait too'}:"
        " its process hangs, or its node or the network is lost; look at the log of that worker and"
        " at its node"
    )


def _absent(store: Any, rank: int, world: int, seconds: float) -> list[int]:
    """Return the workers that do not wait; rank 0 alone if the store that it serves is silent.

    All workers that wait write a key to the store. A store that is silent blocks its readers.
    """
    until = time.monotonic() + seconds
    present = {rank}
    answered = threading.Event()

    def look() -> None:
        with contextlib.suppress(RuntimeError):  # the process of rank 0 has ended
            while len(present) < world and time.monotonic() < until:
                present.update(r for r in range(world) if store.check([_key(r)]))
                answered.set()
                time.sleep(seconds / 100)

    reader = threading.Thread(target=look, daemon=True)
    reader.start()
    reader.join(2 * seconds)
    return [r for r in range(world) if r not in present] if answered.is_set() else [0]


def _key(rank: int) -> str:
    return f"waits/{rank}"
