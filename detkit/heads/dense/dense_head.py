"""What every head that looks everywhere at once promises."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor

from detkit.heads.activations import Activation, sigmoid_scores
from detkit.heads.context import Candidates, Context
from detkit.heads.postprocessed import Postprocessed
from detkit.heads.truth import of_batch
from detkit.structures import Detections


def in_turn(
    boxes: Tensor, logits: Tensor, objectness: Tensor | None = None, activation: Activation = sigmoid_scores
) -> Candidates:
    """The candidates of a batch, images in turn.

    Args:
        boxes: ``(B, P, 4)`` in the network's frame.
        logits: ``(B, P, K)``.
        objectness: ``(B, P)``, if the head asks.
        activation: see `Candidates`.
    """
    image_index = of_batch(boxes.shape[0], boxes.shape[1], boxes.device)
    flat = None if objectness is None else objectness.flatten()
    return Candidates(boxes.flatten(0, 1), logits.flatten(0, 1), flat, image_index, activation)


class DenseHead(Postprocessed):
    """A head that answers at every cell of the feature maps, with a loss of its own.

    A detector builds it as ``head(in_channels, strides, num_classes)``: channels and strides of the maps, finest first,
    and the number of classes without background. Further arguments come from the config.

    Attributes:
        learns_from: the field of `Target` that it learns from beside boxes and labels, or several.
        asks_for: the field of `Target` that must be given with an image also at inference, or several.
    """

    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def forward(self, features: list[Tensor], context: Context) -> Any:
        """Raw outputs on `features` ``(B, Ci, Hi, Wi)``, finest first; no thresholds.

        Args:
            features: the maps that the head was built for.
            context: of which only the images, and their padded size, are known when a graph is exported.
        """
        raise NotImplementedError

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step, attached to the graph also without objects.

        An image whose boxes are None is not annotated and teaches nothing; one without boxes teaches background.

        Args:
            raw: what `forward` says.
            context: with targets in the network's frame.
        """
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> list[Detections]:
        """The detections of each image, best first, in pixels of the image as given."""
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """All that might be a detection, before any threshold; differentiable."""
        raise NotImplementedError

    def assign(self, raw: Any, context: Context) -> Tensor:
        """Which object each of the `candidates` is to find ``(N,)`` int64.

        It is the object's row among those of the whole batch, of each image ``target.objects()`` in turn; -1 where a
        candidate is to be background, -2 where it learns neither.
        """
        raise NotImplementedError
