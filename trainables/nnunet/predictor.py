"""nnU-Net's predictor as a network of ours: whole images in, probabilities at their size out."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from trainables import masks
from trainables.models import Features, ImagePredictor, Output
from trainables.models.nnunet import NNUNet
from trainables.nnunet import raw_dataset
from trainables.nnunet.workspace import Room

KEPT_PIXELS = 2**24
"""Of images whose probabilities are remembered until the next step: a minute is soon saved."""


class NNUNetPredictor(ImagePredictor):
    """The trainer's network, read as ``nnUNetTrainer.perform_actual_validation`` does.

    That is: preprocessed by its plan, in windows of its patch weighted by a Gaussian, mirrored,
    resampled to the image's size, softmax.
    """

    def __init__(self, trainer: Any, model: NNUNet, classes: int, room: Room) -> None:
        super().__init__()
        self.inner: nn.Module = trainer.network
        self.classes = classes
        self.patch = tuple(trainer.configuration_manager.patch_size)
        self._trainer, self._model, self._room = trainer, model, room
        self.inner.register_forward_hook(self._count)
        self._known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def _count(self, inner: nn.Module, seen: tuple[Tensor, ...], found: object) -> None:
        if not inner.training:
            self.passes += len(seen[0])

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        self._trainer.set_deep_supervision_enabled(False)
        return Output(self.inner(image_BCHW))

    def forget(self) -> None:
        """The weights change."""
        self._known.clear()

    def predict_image(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        key = (pixels_CHW.data_ptr(), *pixels_CHW.shape)
        if key not in self._known:
            p = self._read(pixels_CHW, overlap)
            if sum(p.numel() for _, p in self._known.values()) + p.numel() > KEPT_PIXELS:
                return p
            self._known[key] = pixels_CHW, p
        return self._known[key][1]

    def _read(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        plans, plan = self._trainer.plans_manager, self._trainer.configuration_manager
        export = importlib.import_module("nnunetv2.inference.export_prediction")
        with self._room.inside():
            self._trainer.set_deep_supervision_enabled(False)
            predictor = self._predictor(overlap)
            image, _, about = plan.preprocessor_class(verbose=False).run_case_npy(
                raw_dataset.planes(pixels_CHW)[:, None],
                None,
                {"spacing": raw_dataset.SPACING},
                plans,
                plan,
                self._trainer.dataset_json,
            )
            logits = predictor.predict_sliding_window_return_logits(torch.from_numpy(image)).cpu()
            _, p_K1HW = export.convert_predicted_logits_to_segmentation_with_correct_shape(
                logits,
                plans,
                plan,
                self._trainer.label_manager,
                about,
                return_probabilities=True,
                num_threads_torch=torch.get_num_threads(),
            )
        p_KHW = torch.from_numpy(p_K1HW)[:, 0].float()
        return p_KHW[1:] if masks.channels(self.classes) == 1 else p_KHW

    def _predictor(self, overlap: float) -> Any:
        found = importlib.import_module("nnunetv2.inference.predict_from_raw_data")
        predictor = found.nnUNetPredictor(
            tile_step_size=1 - overlap,
            use_mirroring=self._model.mirroring,
            device=self._trainer.device,
            allow_tqdm=False,
        )
        predictor.manual_initialization(
            self.inner,
            self._trainer.plans_manager,
            self._trainer.configuration_manager,
            None,
            self._trainer.dataset_json,
            type(self._trainer).__name__,
            self._trainer.inference_allowed_mirroring_axes,
        )
        return predictor
