"""The output that an attribution explains for a label map: a class, at the pixels that have it."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.models.pixel.inference.pixel_network import network_of
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.preprocess import Batch
from detkit.visualization.attribution.named_layers import eval_mode


class PixelClassTarget:
    """The logit of a class, the mean over the pixels of one image whose best class it is.

    This is Seg-Grad-CAM, which takes their sum (Vinogradova et al., "Towards Interpretable Semantic Segmentation via
    Gradient-Weighted Class Activation Mapping", 2020).

    Args:
        model: the network.
        image: ``(3, H, W)``, in which the pixels are found; images to compare have its size.
        label: the class.

    Raises:
        InputError: no pixel has the class, at the size of the network's input.
    """

    backbone = "backbone"

    def __init__(self, model: SegmentationModel, image: Tensor, label: int) -> None:
        self.network = model
        self.preprocess = model.preprocess
        self.label = label
        with torch.no_grad(), eval_mode(model):
            self.pixels = self._logits(model.preprocess([image]))[0].argmax(dim=0) == label
        if not self.pixels.any():
            raise InputError(
                f"no pixel of the image has the class {label} at the size of the network's input, so that there is "
                "nothing to explain: choose another class or image"
            )

    def prepare(self, image: Tensor) -> Batch:
        """The preprocessed image."""
        return self.preprocess([image])

    def forward(self, images: Tensor) -> object:
        """Run backbone, neck and head."""
        return self.network.raw(images)

    def scores(self, images: Tensor) -> Tensor:
        """The mean probability of the class in those pixels."""
        with torch.inference_mode(), eval_mode(self.network):
            probabilities = self._logits(self.preprocess(list(images))).softmax(dim=1)
            return probabilities[:, self.label][:, self.pixels].mean(dim=1)

    def objective(self, image: Tensor) -> Tensor:
        """The mean logit of the class in those pixels."""
        with eval_mode(self.network):
            return self._logits(self.preprocess([image]))[0, self.label][self.pixels].mean()

    def _logits(self, batch: Batch) -> Tensor:
        """``(B, K, h, w)`` of images of one size, without padding."""
        logits = network_of(self.network)(batch.images)
        height, width = batch.sizes[0]
        return logits.values[..., : height - logits.margin, : width - logits.margin]
