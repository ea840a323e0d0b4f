"""Inference on whole images at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detkit.geometry import rows_alike
from detkit.models.answers import Answer
from detkit.models.pixel.inference.test_time_views import Views, network_in_views
from detkit.object_config import Described

if TYPE_CHECKING:
    from detkit.models.pixel.segmentation_model import SegmentationModel


class Whole(Described):
    """Each image passes through the network as a whole, perhaps in several views.

    Args:
        views: the scales and flips whose mean is taken; None: the image as it is.
    """

    def __init__(self, views: Views | None = None) -> None:
        self.views = views

    @property
    def left_out_of_graphs(self) -> str:
        """What an exported graph, in which an image passes the network once, leaves out; see `VisionModel`."""
        return "" if self.views is None else "the inference by Views"

    @torch.no_grad()
    def answers(self, model: SegmentationModel, images: Sequence[Tensor]) -> list[Answer]:
        """The answers of the model for `images` as given.

        Images of one size in the frame of the network pass through it together. None is padded to the size of another,
        so that its answer does not depend on the others.
        """
        network = network_in_views(model, self.views)
        found: list[Answer | None] = [None] * len(images)
        sizes = [model.preprocess.place((image.shape[-2], image.shape[-1])).size for image in images]
        for rows in rows_alike(sizes):
            batch = model.preprocess([images[row] for row in rows])
            logits = network(batch.images)
            for row, answer in zip(rows, model.answers(logits.values, batch, logits.margin), strict=True):
                found[row] = answer
        return [answer for answer in found if answer is not None]
