"""The evaluator of the meshes of detections: Mesh R-CNN's AP of meshes (Gkioxari et al., ICCV 2019, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.ground_truth import plain_id
from detkit.evaluation.meshes.detected_meshes import MatchedDetections, match_detections
from detkit.evaluation.meshes.given_meshes import center_depths, check_true_meshes, enlarged
from detkit.evaluation.meshes.mesh_collector import ImagePairs, KeptObjects, MeshCollector, facts_of
from detkit.evaluation.meshes.mesh_protocol import MESH_RCNN, SAMPLES
from detkit.evaluation.meshes.voxel_iou import detected_voxel_ious
from detkit.evaluation.weighting.voc_matches import VocMatches
from detkit.ops import RunLengths
from detkit.structures import Category, Detections, Target
from detkit.structures.meshes import Meshes

AVERAGE_PRECISIONS = ("AP_mesh", "AP50_mask", "AP50_box")
RIGHT_F1 = MESH_RCNN.thresholds.index(0.3)


@dataclass(frozen=True, eq=False)
class KeptDetections(KeptObjects):
    """The objects of an image, and its D detections that count.

    Args:
        detected: int64 ``(D,)`` predicted classes.
        scores: float64 ``(D,)``.
        right: bool ``(3, D)`` which are right by each of `AVERAGE_PRECISIONS`.
        has_masks: whether target and answer have masks.
    """

    detected: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    has_masks: bool


@dataclass(frozen=True, eq=False)
class _TrueObjects:
    """The T objects of an image.

    Args:
        boxes: ``(T, 4)`` on the CPU.
        labels: int64 ``(T,)``.
        meshes: T, in the camera's frame.
        depths: float64 ``(T,)`` the z of their centers.
        masks: ``(T, H, W)``; None: not annotated.
    """

    boxes: Tensor
    labels: np.ndarray
    meshes: Meshes
    depths: Tensor
    masks: Tensor | RunLengths | None


class MeshEvaluator(MeshCollector[KeptDetections]):
    """Compares the meshes of detections with those of the objects, and computes AP by mesh, mask and box.

    A detection belongs to the object that its box overlaps most, whatever its class, and counts if their IoU is above
    0.3. By mesh it is right if it has the object's class, its F1 at distance 0.3 is above 0.5, and no detection with a
    higher score is right for that object; by mask and box likewise with an IoU above 0.5. AP is the area under the
    monotonous precision (PASCAL VOC 2010), the mean over the classes that have objects. With one object per image this
    is the authors' evaluation of Pix3D.

    The distances, F1 and voxel IoU of an object are those of its highest-scoring detection of the right class that
    counts. Objects without one are no part of the means. Voxels are compared in the frustum of the predicted box, with
    the `voxels` of the target or, where it has none, with those of its meshes, which must then be closed.

    Meshes of detections are in units of the distance z of the object's center, which an image does not tell: they are
    multiplied by the true one, the middle between the least and the greatest z of the true mesh.

    Args:
        annotations: path of a COCO file with the images and categories of the data, or its content. The truth is the
            `boxes`, `labels`, `meshes` and `masks` of the targets, without crowds; for voxels also their `camera`.
        categories: ``categories[k]`` is the class of label ``k`` of the answers; they are matched to those of the
            annotations by name. Default: the annotations' own, sorted by id.
        samples: points drawn from each mesh.
        seed: of the points; those of an image depend on it and on the image's id alone.
        voxel_threshold: voxels of at least this probability are occupied, the paper's 0.2; None: they are not compared.

    Raises:
        InputError: the annotations cannot be read, a category is not among theirs, or `samples` is below 1.
    """

    name = "mesh"
    headline = "AP_mesh"
    answers_called = "detections"
    title = "meshes"
    ceiling_bounds = (0.8, 0.5)

    def __init__(
        self,
        annotations: str | Path | dict,
        categories: Sequence[Category] | None = None,
        samples: int = SAMPLES,
        seed: int = 0,
        voxel_threshold: float | None = 0.2,
    ) -> None:
        super().__init__(annotations, categories, MESH_RCNN, samples, seed)
        self.voxel_threshold = voxel_threshold

    def pairs(self, target: Target, answer: Detections) -> ImagePairs[KeptDetections] | None:
        """The meshes of the detections that count and have the right class, and those of their objects.

        Raises:
            InputError: the answer has no meshes, or target or answer cannot be evaluated.
        """
        image_id = plain_id(target.image_id)
        true = self._true_objects(image_id, target.objects())
        if true is None:
            return None
        predicted = self.meshes_of(image_id, answer) if len(answer) else Meshes([], [])
        matched = self._matched(image_id, answer, true)
        masks = _mask_ious(image_id, matched, answer, true)
        compared = np.flatnonzero(matched.has_class)
        objects, best = np.unique(matched.objects[compared], return_index=True)
        voxels = np.full(len(best), np.nan)
        if self.voxel_threshold is not None:
            pair = torch.from_numpy(matched.rows[compared[best]]), target.objects(), torch.from_numpy(objects)
            voxels = detected_voxel_ious(image_id, answer, *pair, self.voxel_threshold)

        def finish(rows: np.ndarray) -> KeptDetections:
            f1 = np.zeros(len(matched.rows))
            f1[compared] = rows[:, RIGHT_F1]
            values = np.full((len(true.labels), rows.shape[1] + 1), np.nan)
            values[objects] = np.column_stack([rows[best], voxels])
            qualities = (f1, np.zeros_like(f1) if masks is None else masks, matched.box_iou)
            return KeptDetections(
                labels=true.labels,
                values=values,
                facts=facts_of(true.meshes, true.boxes),
                detected=matched.labels,
                scores=matched.scores,
                right=np.stack([matched.right(quality) for quality in qualities]),
                has_masks=masks is not None,
            )

        chosen = predicted[torch.from_numpy(matched.rows[compared])]
        own = torch.from_numpy(matched.objects[compared])
        return ImagePairs(enlarged(chosen, true.depths[own]), true.meshes[own], finish)

    def _true_objects(self, image_id: Any, objects: Target) -> _TrueObjects | None:
        """The objects of a target; None where it has no meshes.

        Raises:
            InputError: they cannot be compared with.
        """
        meshes = objects.meshes
        if meshes is None:
            return None
        if objects.boxes is None or objects.labels is None:
            raise InputError(f"image {image_id!r}: its target has meshes, but no boxes or no labels; give them too")
        check_true_meshes(meshes, f"image {image_id!r}: true mesh")
        labels = objects.labels.cpu().numpy()
        self.check_labels(image_id, "target", labels, len(self.truth.categories))
        depths = center_depths(meshes)
        for number, depth in enumerate(depths.tolist()):
            if not depth > 0:
                raise InputError(
                    f"image {image_id!r}: the center of true mesh {number} has z {depth:.3g}, which is not in front of "
                    "the camera; give meshes in the camera's frame, where z points away from it"
                )
        return _TrueObjects(objects.boxes.cpu(), labels, meshes, depths, objects.masks)

    def _matched(self, image_id: Any, answer: Detections, true: _TrueObjects) -> MatchedDetections:
        boxes, scores = answer.boxes.detach().cpu(), answer.scores.detach().cpu()
        for name, values in (("boxes", boxes), ("scores", scores)):
            if not bool(values.isfinite().all()):
                raise InputError(
                    f"detections of image {image_id!r}: {name} holds a value that is not finite; look for a diverged "
                    "model"
                )
        labels = answer.labels.cpu().numpy()
        self.check_labels(image_id, "answer", labels, len(self.categories))
        return match_detections(boxes, scores, self.positions[labels], true.boxes, true.labels)

    def chance(self) -> float:
        """An untrained detector has an AP below 0.05, and meets one object by luck, which is much of few."""
        _, kept = self.measured()
        return min(0.5, 0.05 + 1 / max(sum(len(one.labels) for one in kept), 1))

    def matches(self, kept: Sequence[KeptDetections]) -> Mapping[str, VocMatches | None]:
        """The detections of all images by class, best first: once for each AP."""
        images, labels = self.images_and_labels(kept)
        detected = np.concatenate([np.zeros(0, dtype=np.int64), *(one.detected for one in kept)])
        scores = np.concatenate([np.zeros(0), *(one.scores for one in kept)])
        right = np.concatenate([np.zeros((3, 0), dtype=bool), *(one.right for one in kept)], axis=1)
        order = np.lexsort((-scores, detected))  # stable
        detected_images = np.repeat(np.arange(len(kept)), [len(one.detected) for one in kept])[order]
        ends = np.searchsorted(detected[order], np.arange(len(self.truth.categories) + 1))
        has_masks = all(one.has_masks for one in kept)
        return {
            name: VocMatches(detected_images, one[order], ~one[order], ends, images, labels)
            if has_masks or name != "AP50_mask"
            else None
            for name, one in zip(AVERAGE_PRECISIONS, right, strict=True)
        }


def _mask_ious(image_id: Any, matched: MatchedDetections, answer: Detections, true: _TrueObjects) -> np.ndarray | None:
    """``(D,)`` those of the detections that count with their objects; None where there are no masks.

    Raises:
        InputError: the masks differ in size.
    """
    if true.masks is None or (answer.masks is None and len(answer)):
        return None
    if answer.masks is None:
        return np.zeros(0)
    sizes = [tuple(masks.shape[1:]) for masks in (answer.masks, true.masks)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"image {image_id!r}: the masks of the detections are {sizes[0]}, those of the target {sizes[1]}; give "
            "both at the size of the image (height, width)"
        )
    return matched.mask_ious(answer.masks, true.masks)
