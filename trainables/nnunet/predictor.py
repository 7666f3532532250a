"""nnU-Net's predictor as a network: whole images in, probabilities at their size out."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from trainables import masks
from trainables.models import Features, ImagePredictor, Output
from trainables.models.nnunet import NNUNet
from trainables.nnunet import raw_dataset
from trainables.nnunet.workspace import Workspace
from trainables.torch_calls import from_array

KEPT_PIXELS = 2**24
"""Pixels of predicted probabilities that are kept until the weights change."""


class NNUNetPredictor(ImagePredictor):
    """The trainer's network with the inference of ``nnUNetTrainer.perform_actual_validation``.

    An image is preprocessed by the plan, predicted in mirrored windows of the patch size that are
    weighted by a Gaussian, resampled to its size, and passed through the softmax.
    """

    def __init__(self, trainer: Any, model: NNUNet, classes: int, workspace: Workspace) -> None:
        super().__init__()
        self.inner: nn.Module = trainer.network
        self.classes = classes
        self.patch = tuple(trainer.configuration_manager.patch_size)
        self._trainer, self._model, self._workspace = trainer, model, workspace
        self.inner.register_forward_hook(self._count)
        self._cache: dict[tuple[float, ...], tuple[Tensor, Tensor]] = {}

    def _count(self, inner: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if not inner.training:
            self.passes += len(inputs[0])

    def forward(
        self, mask_BMHW: Tensor, t_B: Tensor, image_BCHW: Tensor, features: Features | None = None
    ) -> Output:
        self._trainer.set_deep_supervision_enabled(False)
        return Output(self.inner(image_BCHW))

    def forget(self) -> None:
        """Clear the cache, because the weights change."""
        self._cache.clear()

    def predict_image(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        key = (pixels_CHW.data_ptr(), *pixels_CHW.shape, overlap)
        if key not in self._cache:
            p = self._predict(pixels_CHW, overlap)
            if sum(p.numel() for _, p in self._cache.values()) + p.numel() > KEPT_PIXELS:
                return p
            self._cache[key] = pixels_CHW, p
        return self._cache[key][1]

    def _predict(self, pixels_CHW: Tensor, overlap: float) -> Tensor:
        plans, plan = self._trainer.plans_manager, self._trainer.configuration_manager
        export = importlib.import_module("nnunetv2.inference.export_prediction")
        with self._workspace.active():
            self._trainer.set_deep_supervision_enabled(False)
            predictor = self._predictor(overlap)
            image, _, properties = plan.preprocessor_class(verbose=False).run_case_npy(
                raw_dataset.planes(pixels_CHW)[:, None],
                None,
                {"spacing": raw_dataset.SPACING},
                plans,
                plan,
                self._trainer.dataset_json,
            )
            logits = predictor.predict_sliding_window_return_logits(from_array(image)).cpu()
            _, p_K1HW = export.convert_predicted_logits_to_segmentation_with_correct_shape(
                logits,
                plans,
                plan,
                self._trainer.label_manager,
                properties,
                return_probabilities=True,
                num_threads_torch=torch.get_num_threads(),
            )
        p_KHW = from_array(p_K1HW)[:, 0].float()
        return p_KHW[1:] if masks.channels(self.classes) == 1 else p_KHW

    def _predictor(self, overlap: float) -> Any:
        library = importlib.import_module("nnunetv2.inference.predict_from_raw_data")
        predictor = library.nnUNetPredictor(
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
