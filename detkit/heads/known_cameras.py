"""The cameras of the images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.context import Context
from detkit.structures import Target
from detkit.structures.device_transfer import to_device


def cameras_of(context: Context, default: Tensor | None = None) -> Tensor:
    """The cameras ``(B, 3, 3)`` of all images, which see the network's frame.

    Args:
        context: has them in its given fields; where nothing is given, in its targets.
        default: ``(B, 3, 3)``, for images that have no camera; None: these are refused.

    Raises:
        InputError: an image has no camera, and there is no default.
    """
    device = context.batch.images.device
    fields = context.targets if context.given is None else context.given
    cameras = [target.camera for target in fields or [Target()] * len(context.batch.images)]
    known = [camera for camera in cameras if camera is not None]
    if len(known) == len(cameras):
        return torch.stack(known).to(device)
    if default is None:
        image = next(image for image, camera in enumerate(cameras) if camera is None)
        raise InputError(
            f"image {image} has no camera, without which no shape can be placed in space: call model(images, "
            "given=[Target(camera=K), …]) with its intrinsic matrix in pixels"
        )
    own = to_device(default, device)
    return torch.stack([own[row] if camera is None else camera.to(own) for row, camera in enumerate(cameras)])
