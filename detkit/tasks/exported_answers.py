"""The outputs of exported graphs as answers in pixels of the given images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from detkit.heads.pixel.pixel_head import at_size, restored_labels
from detkit.ops import batched_paste_masks_to_rle
from detkit.preprocess import Batch
from detkit.structures import Classification, Detections, SemanticMap


def exported_detections(outputs: Mapping[str, Tensor], batch: Batch, clip: bool = True) -> list[Detections]:
    """The detections of each image.

    Args:
        outputs: ``boxes``, ``scores``, ``labels``, ``count``, perhaps ``masks``, ``keypoints`` and ``voxels``, as
            `detkit.tasks.Detection.export` describes them.
        batch: the images that the graph got, with their placements.
        clip: clip boxes to the image, and drop those in a border around it.
    """
    rows = [slice(0, count) for count in outputs["count"].tolist()]
    numbered = [
        Detections(outputs["boxes"][image, own].float(), outputs["scores"][image, own].float(), _numbers(own))
        for image, own in enumerate(rows)
    ]
    answers = []
    for image, restored in enumerate(batch.restore(numbered, clip)):
        own = restored.labels  # numbers of rows: some lie in the border and are left out
        answer = replace(restored, labels=outputs["labels"][image, own].long())
        if "keypoints" in outputs:
            points = outputs["keypoints"][image, own].float()
            moved = batch.placements[image].inverse().points(points[..., :2])
            answer = replace(answer, keypoints=torch.cat([moved, points[..., 2:]], dim=-1))
        if "masks" in outputs:
            sizes = [batch.placements[image].given_size]
            pasted = batched_paste_masks_to_rle(outputs["masks"][image, own].float(), answer.boxes, [len(own)], sizes)
            answer = replace(answer, masks=pasted[0])
        if "voxels" in outputs:
            back, probabilities = batch.placements[image].inverse(), outputs["voxels"][image, own].float()
            answer = replace(answer, voxels=Detections.kinds()["voxels"].move(probabilities, back, ()))
        answers.append(answer)
    return answers


def exported_classes(outputs: Mapping[str, Tensor]) -> list[Classification]:
    """All classes of each image, best first, from their ``probabilities`` ``(B, K)``."""
    scores, labels = outputs["probabilities"].float().sort(dim=1, descending=True, stable=True)
    return [Classification(*own) for own in zip(scores, labels, strict=True)]


def exported_label_maps(outputs: Mapping[str, Tensor], batch: Batch) -> list[SemanticMap]:
    """The label map of each image, as the model gives it.

    Where images pass through the network at their size it is the ``label_map`` of the file. Where they are resized, the
    ``logits`` are put back to the given images before the best class is chosen.

    Args:
        outputs: ``label_map`` and ``logits``, as `detkit.tasks.Segmentation.export` describes them.
        batch: the images that the graph got, with their placements.
    """
    labels = outputs["label_map"]
    margin = (batch.padded_size[0] - labels.shape[1]) // 2
    if margin == 0 and all(one.is_identity for one in batch.placements):
        sizes = batch.given_sizes
        return [SemanticMap(own[:height, :width]) for own, (height, width) in zip(labels, sizes, strict=True)]
    return restored_labels(at_size(outputs["logits"].float(), labels.shape[1:]), batch, margin)


def _numbers(rows: slice) -> Tensor:
    return torch.arange(rows.stop)
