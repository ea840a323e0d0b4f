"""The contract of losses of pixels."""

from __future__ import annotations

from torch import Tensor

from detkit.object_config import Described


class PixelCriterion(Described):
    """Compares the class logits of each pixel with its class.

    Without any pixel that has a class the loss is 0, attached to the graph. It waits for no device.
    """

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch, a scalar in float32; float64 stays float64.

        Args:
            logits: ``(B, K, H, W)``.
            labels: ``(B, H, W)`` int64 in ``0..K-1``, -1 for pixels without a class.
            weights: ``(B, H, W)`` float32, factor of the loss of each pixel; None: 1.
        """
        raise NotImplementedError
