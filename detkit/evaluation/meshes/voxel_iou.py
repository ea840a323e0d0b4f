"""The IoU of predicted voxels with true shapes: in the frustums of predicted boxes, or of the whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures import Detections, Target
from detkit.structures.meshes import true_frustum_voxels, true_voxels_between

_ADVICE = "to evaluate without voxels, set voxel_threshold to null"


def detected_voxel_ious(
    image_id: Any, answer: Detections, rows: Tensor, true: Target, objects: Tensor, threshold: float
) -> np.ndarray:
    """float64 ``(M,)`` the IoU of the voxels of M detections, each with its object; NaN where the answer has no voxels.

    Args:
        image_id: for messages.
        answer: the detections of the image.
        rows: int64 ``(M,)`` which of them.
        true: the objects of the image, with meshes or `voxels`.
        objects: int64 ``(M,)`` which of them.
        threshold: voxels of at least this probability are occupied.

    Raises:
        InputError: the target has no camera, an object no voxels, or a predicted voxel is not finite.
    """
    if answer.voxels is None or not len(rows):
        return np.full(len(rows), np.nan)
    if true.camera is None or true.meshes is None:
        missing = "meshes" if true.meshes is None else "camera"
        raise InputError(f"image {image_id!r}: its target has no {missing} to make true voxels with; {_ADVICE}")
    predicted = _occupied(image_id, answer.voxels[rows], threshold)
    size = (predicted.shape[1], predicted.shape[2], predicted.shape[3])
    shapes = (true.meshes if true.voxels is None else true.voxels)[objects].to("cpu")
    boxes, cameras = answer.boxes[rows].detach().cpu(), true.camera.cpu().expand(len(rows), 3, 3)
    try:
        occupied = true_frustum_voxels(shapes, boxes, cameras, size)
    except InputError as error:
        raise InputError(f"image {image_id!r}: {error}; {_ADVICE}") from error
    return voxel_ious(predicted, occupied)


def object_voxel_iou(
    image_id: Any, answer: Any, true: Target, image_size: tuple[int, int] | None, threshold: float
) -> float:
    """The IoU of the voxels of an image's one object, in the frustum of the whole image; NaN without voxels.

    Args:
        image_id: for messages.
        answer: with ``voxels`` ``(1, D, H, W)``, their ``depth_range`` ``(2,)`` and the ``camera`` ``(3, 3)``.
        true: the object, with closed meshes or `voxels`.
        image_size: (height, width) of the image.
        threshold: voxels of at least this probability are occupied.

    Raises:
        InputError: the image has no known size, the object no voxels, or a predicted voxel is not finite.
    """
    voxels, depths = (getattr(answer, name, None) for name in ("voxels", "depth_range"))
    if voxels is None or depths is None:
        return float("nan")
    if image_size is None:
        raise InputError(f"image {image_id!r}: the annotations state no height and width of it; {_ADVICE}")
    if true.meshes is None:
        raise InputError(f"image {image_id!r}: its target has no meshes; {_ADVICE}")
    predicted = _occupied(image_id, voxels, threshold)
    size = (predicted.shape[1], predicted.shape[2], predicted.shape[3])
    height, width = image_size
    shapes = (true.meshes if true.voxels is None else true.voxels).to("cpu")
    frustum = torch.tensor([[0.0, 0, width, height]]), answer.camera.cpu()[None], depths.cpu()[None]
    try:
        occupied = true_voxels_between(shapes, *frustum, size)
    except InputError as error:
        raise InputError(f"image {image_id!r}: {error}; {_ADVICE}") from error
    return float(voxel_ious(predicted, occupied)[0])


def _occupied(image_id: Any, voxels: Tensor, threshold: float) -> Tensor:
    """Which predicted voxels are occupied, on the CPU."""
    voxels = voxels.detach().cpu()
    if not bool(voxels.isfinite().all()):
        raise InputError(
            f"the answer for image {image_id!r}: voxels holds a value that is not finite; look for a diverged model"
        )
    return voxels >= threshold


def voxel_ious(predicted: Tensor, true: Tensor) -> np.ndarray:
    """float64 ``(M,)`` the IoU of M pairs of voxels ``(M, D, H, W)`` bool; 1 where both are empty."""
    shared = (predicted & true).flatten(1).sum(1)
    union = (predicted | true).flatten(1).sum(1)
    ious: np.ndarray = torch.where(union > 0, shared.double() / union.clamp(min=1), 1.0).numpy()
    return ious
