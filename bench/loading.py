"""Speed of loading training batches against training on them: a small U-Net at 128 px, batch 8.

The data are JPEG photographs of about 0.8 megapixels. The first epoch decodes every file into the
cache; later epochs, and all other trials on the machine, take crops from the memory-mapped file.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from trainables import batches
from trainables.config import Config, parse
from trainables.data import Prepared, prepare
from trainables.decoding.cache import forget
from trainables.run import Run
from trainables.runtime.worker_context import WorkerContext, best_device
from trainables.training.state import State
from trainables.training.step import Stepper

IMAGES, HEIGHT, WIDTH = 80, 768, 1024
BATCH, SIDE, STEPS = 8, 128, 12
FULL = {"rotate": 30.0, "scale": 0.5, "elastic": 0.05, "colour": 0.2}


def main() -> None:
    """Print the images per second of loading and of training, and their ratios."""
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGPRINT_CACHE"] = f"{folder}/cache"
        write(Path(folder) / "photos")
        place = WorkerContext(device=best_device())
        plain, full = config_of(folder, {}), config_of(folder, FULL)
        began = time.perf_counter()
        data = prepare(plain.task, "images")
        decoding = time.perf_counter() - began
        training = speed(trainer(plain, data, place), place)
        count = IMAGES * 3 // 5 // BATCH  # three fifths are training images
        loading = speed(lambda i: batches.draw(Run(plain, place, data), i), place)
        first = BATCH * count / (decoding + BATCH * count / loading)
        forget()
        rates = {
            "first epoch, decoding": first,
            "later epochs": loading,
            "later epochs, all augmentation": speed(
                lambda i: batches.draw(Run(full, place, data), i), place
            ),
            "later epochs, all augmentation left to a GPU": speed(
                lambda i: batches.prepared(Run(full, place, data), i), place
            ),
        }
        print(f"loading: training takes {training:.0f} images per second")
        for name, rate in rates.items():
            print(f"loading: {name}: {rate:.0f} images per second, ratio {rate / training:.1f}")


def write(folder: Path) -> None:
    """Write smooth random photographs and the masks of one disc each."""
    draws = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(IMAGES):
        coarse = PIL.Image.fromarray(draws.integers(0, 255, (24, 32, 3), np.uint8))
        photo = np.asarray(coarse.resize((WIDTH, HEIGHT), PIL.Image.Resampling.BICUBIC))
        photo = (photo + draws.normal(0, 6, photo.shape)).clip(0, 255).astype(np.uint8)
        row, column = draws.uniform(200, 500, 2)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < 150**2
        for kind, values, suffix in (("images", photo, "jpg"), ("masks", mask, "png")):
            out = io.BytesIO()
            PIL.Image.fromarray(values).save(out, {"jpg": "JPEG", "png": "PNG"}[suffix])
            (folder / kind / f"{i:03d}.{suffix}").write_bytes(out.getvalue())


def config_of(folder: str, augment: dict[str, Any]) -> Config:
    """Return the config of the quickstart's network at 128 px."""
    unet = {"channels": 16, "multipliers": [1, 2, 4], "blocks": 1, "attention": []}
    return parse(
        {
            "task": {"folder": {"at": f"{folder}/photos", "size": SIDE}},
            "model": {"ensemdiff": unet},
            "mode": {"diffusion": {}},
            "train": {"batch": BATCH, "augment": augment},
            "test": {"unit": "images"},
        }
    )


def trainer(config: Config, data: Prepared, place: WorkerContext) -> Callable[[int], object]:
    """Return a function that runs a training step, including its loading."""
    state = State(Run(config, place, data))
    stepper = Stepper(state)
    return lambda i: stepper.advance()


def speed(work: Callable[[int], object], place: WorkerContext) -> float:
    """Return images per second after two calls to warm up."""
    for i in range(2):
        work(i)
    if place.device != "cpu":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for i in range(STEPS):
        work(2 + i)
    if place.device != "cpu":
        torch.cuda.synchronize()
    return STEPS * BATCH / (time.perf_counter() - began)
