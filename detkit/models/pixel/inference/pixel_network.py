"""The network of a segmentation model as a function from pixels to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.raw_outputs import note
from detkit.preprocess import Batch

if TYPE_CHECKING:
    from detkit.models.pixel.segmentation_model import SegmentationModel


class Logits(NamedTuple):
    """The class logits of preprocessed images.

    Args:
        values: ``(B, K, H - 2 margin, W - 2 margin)`` float32.
        margin: pixels of the images that they lack on each side.
    """

    values: Tensor
    margin: int


Network = Callable[[Tensor], Logits]
"""From preprocessed images ``(B, 3, H, W)`` to their logits."""


def network_of(model: SegmentationModel) -> Network:
    """The network of a model."""

    def network(images: Tensor) -> Logits:
        context = Context(Batch(images))
        raw = model.heads(model.features(context.batch), context)
        note("the heads", model.outputs(raw))
        return Logits(model.head.full_logits(raw, context), raw.margin)

    return network
