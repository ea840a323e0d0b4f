"""Objects that a model of pixels makes of connected components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from detkit.evaluation import CocoEvaluator, SemanticEvaluator
from detkit.heads.pixel.pixel_head import at_size
from detkit.preprocess import Batch
from detkit.structures import PanopticMap
from detkit.tasks.differences.output_agreement import Tolerance
from detkit.tasks.panoptic import Panoptic
from detkit.tasks.segmentation import Segmentation

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.models import VisionModel


class SegmentedObjects(Panoptic):
    """The objects and the stuff of an image, from one class for each pixel.

    An exported graph has the outputs of `Segmentation`; objects are made of them afterwards.
    """

    name = "segmentation of objects"
    evaluators = (SemanticEvaluator, CocoEvaluator)

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data without label maps, or whose classes are all things or all stuff."""
        Segmentation().check_data(model, data)
        super().check_data(model, data)

    def export(self, model: VisionModel) -> dict[str, str]:
        """As of `Segmentation`."""
        return Segmentation().export(model)

    def outputs_differ(
        self, given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance
    ) -> str | None:
        """As of `Segmentation`."""
        return Segmentation().outputs_differ(given, own, tolerance)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[PanopticMap]:
        """Logits put back to the given images, and objects made of them, as the model does it."""
        labels = outputs["label_map"]
        margin = (batch.padded_size[0] - labels.shape[1]) // 2
        logits = at_size(outputs["logits"].float(), labels.shape[1:])
        answers: Sequence[PanopticMap] = model.answers(logits, batch, margin)  # type: ignore[operator]  # of these
        return list(answers)
