"""Why a stage loses objects, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from detkit.heads import RPN
from detkit.models import VisionModel
from detkit.ops import box_iou
from detkit.trust.doctor.round_trip.ideal_network import heads_of
from detkit.trust.doctor.round_trip.image_trips import (
    CANDIDATES,
    DECODING,
    LIMIT,
    RESIZING,
    SUPPRESSION,
    THRESHOLD,
    ImageTrip,
)

_SHOWN = 3


def loss_sentence(stage: str, trips: Sequence[ImageTrip], model: VisionModel) -> str:
    """How many objects a stage loses, why, what to do, and which they are."""
    lost = [(trip, row) for trip in trips for row, its in enumerate(trip.lost) if its == stage]
    total = sum(len(trip.lost) for trip in trips)
    if lost[0][0].recovered.boxes is None:
        why = "the head cannot express them: raise its resolution, or correct its `ideal`"
        images = ", ".join(repr(trip.target.image_id) for trip, _ in lost[:_SHOWN])
        return f"{len(lost)} of {total} answers ({len(lost) / total:.1%}) are lost at {stage}: {why}. Images: {images}"
    share = f"{len(lost)} of {total} objects ({len(lost) / total:.1%})"
    return f"{share} are lost at {stage}: {_why(stage, lost, model)}. {_examples(lost)}"


def lost_objects(trips: Sequence[ImageTrip]) -> list[dict[str, object]]:
    """Each object that does not come back, for a JSON file."""
    return [
        {"stage": stage, "image_id": trip.target.image_id, "object": row, "label": label, "box": box}
        for trip in trips
        for row, (stage, label, box) in enumerate(zip(trip.lost, *_labels_and_boxes(trip), strict=True))
        if stage is not None
    ]


def _labels_and_boxes(trip: ImageTrip) -> tuple[list[Any], list[Any]]:
    labels, boxes, none = trip.recovered.labels, trip.recovered.boxes, [None] * len(trip.lost)
    return none if labels is None else labels.tolist(), none if boxes is None else boxes.tolist()


def _why(stage: str, lost: Sequence[tuple[ImageTrip, int]], model: VisionModel) -> str:
    if stage == RESIZING:
        height, width = lost[0][0].padded_size
        return (
            f"they are less than a pixel wide or high in the network's frame of {width}x{height}; enlarge the images "
            "in model.preprocess, or cut them into tiles"
        )
    if stage.endswith(": assignment"):
        name = stage.removesuffix(": assignment")
        return str(heads_of(model)[name].unassigned_because)
    if stage.endswith(": proposals"):
        more = "give more proposals (data.proposals)"
        if any(isinstance(part, RPN) for part in model.modules()):
            more = "raise detections or iou_threshold of the suppression of the rpn"
        return f"no proposal overlaps them enough (an IoU of at least 0.5); {more}"
    if stage == SUPPRESSION:
        overlaps = [_overlap_with_another(trip, row) for trip, row in lost]
        return (
            f"they overlap another object of their class by an IoU of {min(overlaps):.2f} to {max(overlaps):.2f}, and "
            f"suppression keeps one of two above its threshold{_threshold(model)}; raise iou_threshold of the head's "
            "postprocess, or use SoftNMS"
        )
    return {
        DECODING: "their box cannot be expressed by the candidates that are assigned to them, or it has no area within "
        "the image; check anchors, strides and boxes at the border",
        THRESHOLD: "a perfect network scores them no higher than score_threshold of the head's postprocess; lower it",
        CANDIDATES: "an image has more objects than candidates enter suppression; raise candidates of the head's "
        "postprocess",
        LIMIT: "an image has more objects than the model gives detections; raise detections of the head's postprocess",
    }[stage]


def _threshold(model: VisionModel) -> str:
    postprocesses = [getattr(head, "postprocess", None) for head in heads_of(model).values()]
    thresholds = {one.iou_threshold for one in postprocesses if one is not None and one.iou_threshold is not None}
    return f" ({', '.join(f'{one:g}' for one in sorted(thresholds))})" if thresholds else ""


def _overlap_with_another(trip: ImageTrip, row: int) -> float:
    """The greatest IoU of an object with another one of its class."""
    boxes, labels = trip.recovered.boxes, trip.recovered.labels
    assert boxes is not None  # only boxes are suppressed
    assert labels is not None
    ious = box_iou(boxes[row : row + 1], boxes)[0]
    ious[labels != labels[row]] = 0
    ious[row] = 0
    return float(torch.as_tensor(ious).max())


def _examples(lost: Sequence[tuple[ImageTrip, int]]) -> str:
    named = []
    for trip, row in lost[:_SHOWN]:
        boxes = trip.recovered.boxes
        where = "" if boxes is None else f" at ({', '.join(f'{value:.0f}' for value in boxes[row].tolist())})"
        named.append(f"image {trip.target.image_id!r} object {row}{where}")
    return f"Such are: {'; '.join(named)}{' …' if len(lost) > _SHOWN else ''}"
