"""Checks of a model's inputs: images, targets and given fields."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import are_cameras
from detkit.structures import Target
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES

_OVERSHOOT = 0.5
"""What resizing and attacks may leave [0, 1] by."""


def check_images(images: Sequence[Tensor]) -> None:
    """Raise InputError unless `images` is a non-empty sequence of images."""
    if len(images) == 0:
        raise InputError("a detector needs at least one image, got none")
    for index, image in enumerate(images):
        check_image(image, f"images[{index}]")


def check_batch_size(batch_size: int, name: str = "batch_size") -> None:
    """Raise InputError unless `batch_size` is an integer of at least 1; it is called `name`."""
    is_integer = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not is_integer or batch_size < 1:
        raise InputError(f"{name} must be an integer of at least 1, got {batch_size!r}")


def check_image(image: Tensor, name: str, waits: bool = False) -> None:
    """Raise InputError unless `image` is a ``(3, H, W)`` tensor, uint8 or float in [0, 1].

    Args:
        image: of any device.
        name: of the image, for messages.
        waits: whether the values of a float image are also checked where that waits for its device.
    """
    is_image = isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.numel() > 0
    if not is_image or not (image.dtype == torch.uint8 or image.is_floating_point()):
        got = f"{tuple(image.shape)} {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"{name} must be a (3, H, W) tensor, uint8 or float in [0, 1], got {got}")
    if image.is_floating_point() and (image.is_cpu or waits):
        _check_values(image, name)


def _check_values(image: Tensor, name: str) -> None:
    """Raise InputError if a float image is plainly not in [0, 1], which a network answers with nonsense."""
    # While a graph is recorded, there are no values.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[no-untyped-call]
        return
    least, most = torch.stack(image.detach().aminmax()).tolist()
    if not (least >= -_OVERSHOOT and most <= 1 + _OVERSHOOT):  # also where a value is NaN
        raise InputError(
            f"{name} has values from {least:g} to {most:g}, but a float image must be in [0, 1]: divide one of 0..255 "
            "by 255, or give it as uint8; the model normalizes it"
        )


def check_targets(images: Sequence[Tensor], targets: Sequence[Target], num_classes: int | None) -> None:
    """Raise InputError unless there is a valid target for each image.

    Boxes must have positive size and labels that the model has, masks the size of the image, and label maps classes
    that the model has, and so panoptic maps; cameras must be intrinsic matrices. Maps and cameras on a GPU are not
    read, for which the host would wait.
    """
    if len(targets) != len(images):
        raise InputError(f"got {len(images)} images but {len(targets)} targets")
    for index, target in enumerate(targets):
        if not isinstance(target, Target):
            raise InputError(f"targets[{index}] must be a detkit.structures.Target, got {type(target).__name__}")
        _check_sizes(target, f"targets[{index}]", images[index])
    _check_boxes(targets, num_classes)
    _check_cameras(targets, "targets")
    if num_classes is not None:
        _check_maps(targets, num_classes)


def _check_maps(targets: Sequence[Target], num_classes: int) -> None:
    for index, target in enumerate(targets):
        for name, part in (("label_map", 1), ("panoptic_map", INSTANCES)):
            values: Tensor | None = getattr(target, name)
            if values is None or not values.is_cpu:
                continue
            known = values[values != IGNORE_INDEX[values.dtype]]
            least, most = (int(one) // part for one in known.aminmax()) if known.numel() else (0, 0)
            if not 0 <= least <= most < num_classes:
                raise InputError(
                    f"targets[{index}], image id {target.image_id!r}: its {name} has the class "
                    f"{least if least < 0 else most}, but the model has the classes 0..{num_classes - 1}: make it with "
                    f"num_classes of the data, and write {IGNORE_INDEX[values.dtype]} where a pixel has no class"
                )


def _check_boxes(targets: Sequence[Target], num_classes: int | None) -> None:
    with_boxes, boxes_of_images, labels_of_images = [], [], []
    for index, target in enumerate(targets):
        if target.boxes is None:
            continue
        if target.labels is None:
            raise InputError(f"targets[{index}], image id {target.image_id}: its boxes have no labels")
        with_boxes.append(index)
        boxes_of_images.append(target.boxes)
        labels_of_images.append(target.labels)
    if not with_boxes:
        return
    boxes, labels = torch.cat(boxes_of_images), torch.cat(labels_of_images)
    # One comparison for the whole batch waits for the device only once.
    good = (boxes[:, 2:] > boxes[:, :2]).all(dim=1) & boxes.isfinite().all(dim=1)
    good &= labels >= 0
    if num_classes is not None:
        good &= labels < num_classes
    if bool(good.all()):
        return
    known = "0, 1 …" if num_classes is None else f"0..{num_classes - 1}"
    row = int((~good).nonzero()[0, 0])
    counts = [len(targets[index]) for index in with_boxes]
    image = with_boxes[int(np.searchsorted(np.cumsum(counts), row, side="right"))]
    raise InputError(
        f"targets[{image}], image id {targets[image].image_id}: box {boxes[row].tolist()} with label "
        f"{int(labels[row])} is not x1 < x2, y1 < y2, finite, with a label in {known}"
    )


def check_given(images: Sequence[Tensor], given: Sequence[Target] | None, required: Collection[str]) -> None:
    """Raise InputError unless each image is given the fields that the model requires, of its size.

    Cameras must be intrinsic matrices. On a GPU they are not read, for which the host would wait.
    """
    names = ", ".join(sorted(required))
    if given is None:
        raise InputError(f"the model asks for {names} of each image: call model(images, given=[Target({names}=…), …])")
    if len(given) != len(images):
        raise InputError(f"got {len(images)} images but given has {len(given)} targets")
    for index, target in enumerate(given):
        if not isinstance(target, Target):
            raise InputError(f"given[{index}] must be a detkit.structures.Target, got {type(target).__name__}")
        missing = sorted(name for name in required if getattr(target, name, None) is None)
        if missing:
            raise InputError(f"given[{index}], image id {target.image_id}: {', '.join(missing)} is missing")
        _check_sizes(target, f"given[{index}]", images[index])
    _check_cameras(given, "given")


def _check_cameras(targets: Sequence[Target], name: str) -> None:
    """Raise InputError if a camera is no intrinsic matrix."""
    known = {index: one.camera for index, one in enumerate(targets) if one.camera is not None and one.camera.is_cpu}
    # While a graph is recorded, there are no values.
    if not known or torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[no-untyped-call]
        return
    cameras = np.stack([(one.detach() if one.requires_grad else one).numpy() for one in known.values()])
    wrong = np.flatnonzero(~are_cameras(cameras))
    if len(wrong):
        index = list(known)[wrong[0]]
        raise InputError(
            f"{name}[{index}], image id {targets[index].image_id}: its camera {cameras[wrong[0]].tolist()} is no "
            "intrinsic matrix; give finite numbers, focal lengths above 0, and the last row 0 0 1"
        )


def _check_sizes(target: Target, name: str, image: Tensor) -> None:
    """Raise InputError if a field with pixels has another size than the image."""
    for field, kind in target.kinds().items():
        value = getattr(target, field)
        size = None if value is None else kind.image_size(value)
        if size is not None and size != tuple(image.shape[1:]):
            raise InputError(
                f"{name}, image id {target.image_id}: its {field} have {size} pixels (height, width), but the image "
                f"has {tuple(image.shape[1:])}"
            )
