"""The contract of dense heads, which predict at every location of the feature maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from detkit.heads.activations import Activation, sigmoid_scores
from detkit.heads.assignment import image_indices
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.postprocessed_head import PostprocessedHead
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.structures import Detections


def batch_candidates(
    boxes: Tensor, logits: Tensor, objectness: Tensor | None = None, activation: Activation = sigmoid_scores
) -> Candidates:
    """The candidates of a batch, ordered by image.

    Args:
        boxes: ``(B, P, 4)`` in the network's frame.
        logits: ``(B, P, K)``.
        objectness: ``(B, P)``, if the head predicts it.
        activation: see `Candidates`.
    """
    image_index = image_indices(boxes.shape[0], boxes.shape[1], boxes.device)
    flat = None if objectness is None else objectness.flatten()
    return Candidates(boxes.flatten(0, 1), logits.flatten(0, 1), flat, image_index, activation)


UNASSIGNED = (
    "each anchor near them overlaps another object more, or none overlaps them; fit the anchors with `detkit anchors`, "
    "or enlarge the images in model.preprocess"
)


class DenseHead(PostprocessedHead):
    """A head that predicts at every location of the feature maps, with its own targets, losses and decoding.

    A detector builds it as ``head(in_channels, strides, num_classes)``: channels and strides of the maps, finest first,
    and the number of classes without background. Further arguments come from the config.

    Attributes:
        learns_from: the field or fields of `Target` that it learns from in addition to boxes and labels.
        asks_for: the field or fields of `Target` that it needs with each image also at inference.
        per_location: how many candidates a location of each level has; None: as many on every level.
        unassigned_because: why an object may have no candidate that is to predict it, and what to do, for messages.
    """

    per_location: Sequence[int] | None = None
    unassigned_because = UNASSIGNED
    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def class_rows(self) -> Mapping[str, ClassRows] | None:
        """The layers whose outputs belong to classes, by their name in this module; none if all serve every class.

        A model for other classes keeps the other outputs, and those of classes of the same name. None where it is not
        known: then parameters of the same shape are taken whole.
        """
        return None

    def forward(self, features: list[Tensor], context: Context) -> Any:
        """Raw outputs for `features`, before thresholds.

        Args:
            features: maps ``(B, Ci, Hi, Wi)`` that the head was built for, finest first.
            context: of the batch; in an exported graph only its images and their padded size are known.
        """
        raise NotImplementedError

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`: the same names at every step, attached to the graph also without objects.

        An image whose boxes are None is not annotated and does not contribute; one with empty boxes is background.

        Args:
            raw: the output of `forward`.
            context: with targets in the network's frame.
        """
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> list[Detections]:
        """The detections of each image, best first, in pixels of the image as given: `decode_padded`, moved back."""
        return context.batch.restore(self.decode_padded(raw, context).detections())

    def decode_padded(self, raw: Any, context: Context) -> PaddedBoxes:
        """The detections of each image in the network's frame, best first, as tensors of fixed size.

        An exported graph contains it: with `detkit.ops.is_exporting`, shapes must not depend on values, and the sizes
        of images are a tensor.
        """
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """All possible detections, before thresholds; differentiable."""
        raise NotImplementedError

    def assign(self, raw: Any, context: Context) -> Tensor:
        """The object that each of the `candidates` is to predict, int64 ``(N,)``.

        An object is given by its row in `Context.objects`; -1 is background, -2 a candidate without a target.
        """
        raise NotImplementedError

    def ideal(self, raw: Any, context: Context) -> Any:
        """What a perfect network would give in place of `raw`: each object predicted exactly by the candidates that it
        is assigned to, and background by all others. Optional; ``detkit doctor`` decodes it.

        Args:
            raw: an output of `forward` of the same batch, whose values mean nothing.
            context: with targets.
        """
        raise NotImplementedError
