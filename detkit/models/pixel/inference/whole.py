"""Inference on whole images at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detkit.models.pixel.inference.pixel_network import network_of
from detkit.models.pixel.inference.test_time_views import Views
from detkit.object_config import Described
from detkit.structures import SemanticMap

if TYPE_CHECKING:
    from detkit.models.pixel.segmentation_model import SegmentationModel


class Whole(Described):
    """Each image passes through the network as a whole, perhaps in several views.

    Args:
        views: the scales and flips whose mean is taken; None: the image as it is.
    """

    def __init__(self, views: Views | None = None) -> None:
        self.views = views

    @torch.no_grad()
    def answers(self, model: SegmentationModel, images: Sequence[Tensor]) -> Sequence[SemanticMap]:
        """The class of each pixel of `images` as given."""
        network = network_of(model)
        batch = model.preprocess(images)
        logits = (network if self.views is None else self.views.of(network))(batch.images)
        return model.head.answers(logits.values, batch, logits.margin)
