"""The segments of panoptic maps: those of the truth as a perfect answer, and how they come back in another."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from detkit.structures import Detections, PanopticMap, SemanticMap
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES, label_map_dtype
from detkit.tasks.recovered_objects import Recovered


def perfect_answer(panoptic_map: Tensor) -> PanopticMap:
    """The answer that equals a panoptic map ``(H, W)`` int32 of a target: its objects score 1."""
    known = panoptic_map >= 0
    values = panoptic_map[known & (panoptic_map % INSTANCES > 0)].unique()
    masks = panoptic_map == values[:, None, None]
    boxes = masks_to_boxes(masks).float() if len(values) else torch.zeros(0, 4)
    boxes[:, 2:] += 1  # a box ends behind its last pixel
    labels = values.long() // INSTANCES
    numbers = torch.arange(1, len(values) + 1, dtype=torch.int32)
    renumbered = panoptic_map.clone()
    for mask, label, number in zip(masks, labels.tolist(), numbers.tolist(), strict=True):
        renumbered[mask] = label * INSTANCES + number
    dtype = label_map_dtype(int(panoptic_map.max()) // INSTANCES + 1 if panoptic_map.numel() else 1)
    classes = torch.where(known, panoptic_map // INSTANCES, IGNORE_INDEX[dtype]).to(dtype)
    return PanopticMap(renumbered, Detections(boxes, torch.ones(len(labels)), labels, masks), SemanticMap(classes))


def recovered_segments(panoptic_map: Tensor, answer: PanopticMap, crowds: Collection[int] = ()) -> Recovered:
    """The IoU of each segment of a target with the segment of its class in an answer that overlaps it most.

    Void pixels do not count. A crowd teaches nothing and is no segment: pixels without an instance, of a class that has
    instances elsewhere in the map, or is among `crowds`.

    Args:
        panoptic_map: ``(H, W)`` int32, of the target.
        answer: of the image.
        crowds: the labels of the crowds of the target.
    """
    given = answer.panoptic_map.masked_fill(panoptic_map < 0, -1)
    segments = answer.segments()
    row_of = {one.value: row for row, one in enumerate(segments)}
    present: list[int] = panoptic_map[panoptic_map >= 0].unique().tolist()
    things = {value // INSTANCES for value in present if value % INSTANCES} | set(crowds)
    values = [value for value in present if value % INSTANCES or value // INSTANCES not in things]
    overlaps, rows = torch.zeros(len(values)), torch.full((len(values),), -1)
    boxes = torch.zeros(len(values), 4)
    for number, value in enumerate(values):
        own = panoptic_map == value
        boxes[number] = masks_to_boxes(own[None])[0].float()
        touched, counts = given[own].unique(return_counts=True)
        for other, common in zip(touched.tolist(), counts.tolist(), strict=True):
            if other < 0 or other // INSTANCES != value // INSTANCES:
                continue
            iou = common / (int(own.sum()) + int((given == other).sum()) - common)
            if iou > overlaps[number]:
                overlaps[number], rows[number] = iou, row_of[other]
    boxes[:, 2:] += 1
    return Recovered(overlaps, rows, torch.tensor(values, dtype=torch.int64) // INSTANCES, boxes)
