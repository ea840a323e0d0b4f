"""COCO's numbers of weighted images: detections are matched once, and each weighting only counts them again."""

from __future__ import annotations

import numpy as np

from detkit.evaluation.coco import native_backend
from detkit.evaluation.coco.coco_evaluation import check_native
from detkit.evaluation.coco.protocol import Protocol
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import PackedDetections
from detkit.evaluation.weighting.image_weighting import ImageWeighting, WeightedNumbers
from detkit.evaluation.weighting.measured_objects import measured_objects


class WeightedCoco(ImageWeighting):
    """COCO's numbers of detections, by native kernels.

    Args:
        truth: what they are compared with; it has images and categories.
        detections: of all images.
        iou_type: compare boxes, masks or keypoints.
        protocol: the thresholds and numbers.
        keypoint_sigmas: ``(J,)`` the spread of each keypoint.

    Raises:
        InputError: the native kernels were not built.
    """

    def __init__(
        self,
        truth: GroundTruth,
        detections: PackedDetections,
        iou_type: str,
        protocol: Protocol,
        keypoint_sigmas: np.ndarray,
    ) -> None:
        check_native("bootstrap")
        self.truth, self.detections, self.protocol = truth, detections, protocol
        sigmas = keypoint_sigmas.tolist() if iou_type == "keypoints" else []
        self.data = measured_objects(truth, {"keypoint_sigmas": sigmas})
        self.matches = native_backend.match(truth, detections, iou_type, protocol, keypoint_sigmas)

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """COCO's table, of all classes together and of each."""
        curves = native_backend.accumulate(self.truth, self.detections, self.matches, self.protocol, weights)
        classes = self.protocol.summarize_classes(curves) if by_class else {}
        return WeightedNumbers(self.protocol.summarize(curves), classes)
