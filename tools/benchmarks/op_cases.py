"""The cases of ``tools/benchmark.py ops``: each operation of detkit.ops and torchvision's, torch's or pycocotools'."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from pycocotools import mask as coco_masks
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks.map_cases import map_cases
from benchmarks.mesh_cases import mesh_cases
from benchmarks.paired_times import Case
from detkit import ops
from detkit.ops.soft_nms import soft_nms_reference

PYRAMID_SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def op_cases() -> list[Case]:
    """All cases for the default device of torch."""
    cases = [*nms_cases(), *soft_nms_cases(), *iou_cases(), *roi_align_cases(), *roi_pool_cases(), *mesh_cases()]
    return cases + mask_cases() + map_cases() if torch.get_default_device().type == "cpu" else cases


def nms_cases() -> list[Case]:
    cases = []
    for layout in (spread_boxes, clustered_boxes):
        for count in (1_000, 10_000, 100_000):
            boxes, scores = layout(count), torch.rand(count)
            kept = len(ops.nms(boxes, scores, 0.5))
            cases.append(
                Case(
                    f"nms, {count} {layout.__name__.split('_')[0]} boxes ({kept} stay)",
                    partial(ops.nms, boxes, scores, 0.5),
                    partial(torchvision.ops.nms, boxes, scores, 0.5),
                )
            )
    for count in (1_000, 10_000, 100_000):
        boxes, scores, labels = spread_boxes(count), torch.rand(count), torch.randint(0, 80, (count,))
        cases.append(
            Case(
                f"batched_nms, {count} boxes of 80 classes",
                partial(ops.batched_nms, boxes, scores, labels, 0.5),
                partial(torchvision.ops.batched_nms, boxes, scores, labels, 0.5),
            )
        )
    return [*cases, proposal_case(images=8, levels=4, per_level=1_000)]


def proposal_case(images: int, levels: int, per_level: int) -> Case:
    """Proposals of a batch, as many of each image as anchors of a level; torchvision takes one image at a time."""
    shape = (images, levels * per_level)
    boxes, scores = clustered_boxes(images * shape[1]), torch.rand(images * shape[1])
    levels_of_image = torch.arange(levels).repeat_interleave(per_level)
    image_index = torch.arange(images).repeat_interleave(shape[1])
    boxes_of, scores_of = boxes.view(*shape, 4), scores.view(shape)

    def theirs() -> list[Tensor]:
        return [
            torchvision.ops.batched_nms(own, own_scores, levels_of_image, 0.7)[:per_level]
            for own, own_scores in zip(boxes_of, scores_of, strict=True)
        ]

    return Case(
        f"batched_nms_padded, {images} images, {levels} levels of {per_level} boxes",
        partial(
            ops.batched_nms_padded, boxes, scores, image_index, 0.7, images, per_level, levels_of_image.repeat(images)
        ),
        theirs,
    )


def soft_nms_cases() -> list[Case]:
    """torchvision has no soft-NMS: the other side is the reference in plain torch."""
    boxes, scores = clustered_boxes(1_000), torch.rand(1_000)
    method: Literal["gaussian"] = "gaussian"
    rule = (0.3, 0.5, method, 0.001)
    return [
        Case(
            "soft_nms, 1000 clustered boxes (against plain torch)",
            lambda: ops.soft_nms(boxes, scores, *rule),
            lambda: soft_nms_reference(boxes, scores, None, *rule),
        )
    ]


def iou_cases() -> list[Case]:
    cases = []
    on_cuda = torch.get_default_device().type == "cuda"
    for count1, count2 in ((1_000, 1_000), (10_000, 1_000), *([(10_000, 10_000)] if on_cuda else [])):
        boxes1, boxes2 = spread_boxes(count1), spread_boxes(count2)
        cases.append(
            Case(
                f"box_iou, {count1} x {count2}",
                partial(ops.box_iou, boxes1, boxes2),
                partial(torchvision.ops.box_iou, boxes1, boxes2),
                bytes_moved=16 * (count1 + count2) + 4 * count1 * count2,
            )
        )
    return cases


def roi_align_cases() -> list[Case]:
    return [*region_cases("roi_align", (1 / 16, 2), regions(512, 800, 1088)), *pyramid_cases()]


def roi_pool_cases() -> list[Case]:
    return region_cases("roi_pool", (1 / 16,), regions(512, 800, 1088))


def region_cases(name: str, sampling: tuple, rois: Tensor) -> list[Case]:
    """An op that crops regions from one map, without and with its backward; on CUDA in half precision too."""
    dtypes = [torch.float32]
    if torch.get_default_device().type == "cuda":
        dtypes += [torch.bfloat16, torch.float16]
    return [
        case
        for dtype in dtypes
        for memory_format in (torch.contiguous_format, torch.channels_last)
        for size in (7, 14)
        for case in region_cases_of(name, sampling, rois, size, dtype, memory_format)
    ]


def region_cases_of(
    name: str, sampling: tuple, rois: Tensor, size: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> list[Case]:
    """Of one size of crops, type and memory format. torchvision wants the regions in the type of the map."""
    ours, theirs = getattr(ops, name), getattr(torchvision.ops, name)
    features = torch.randn(1, 256, 50, 68).to(dtype).to(memory_format=memory_format)
    learned = features.clone(memory_format=memory_format).requires_grad_()
    arguments, their_arguments = (rois, size, *sampling), (rois.to(dtype), size, *sampling)
    title = f"{name} {size} x {size}, 256 x 50 x 68, {len(rois)} regions"
    title += ", channels-last" if memory_format == torch.channels_last else ""
    title += "" if dtype == torch.float32 else f", {str(dtype).removeprefix('torch.')}"
    map_bytes = dtype.itemsize * features.numel()
    crop_bytes = dtype.itemsize * len(rois) * features.shape[1] * size**2
    cases = [
        Case(
            title,
            partial(ours, features, *arguments),
            partial(theirs, features, *their_arguments),
            bytes_moved=map_bytes + crop_bytes,
        ),
        Case(
            title + ", with backward",
            partial(forward_and_backward, ours, learned, *arguments),
            partial(forward_and_backward, theirs, learned, *their_arguments),
            bytes_moved=3 * map_bytes + 2 * crop_bytes,  # the gradient of the map is set to zero, and written
        ),
    ]
    if features.device.type == "cuda":
        crops = ours(learned, *arguments), theirs(learned, *their_arguments)
        weights = [torch.randn_like(some) for some in crops]
        backwards = [
            partial(torch.autograd.grad, some, learned, weight, retain_graph=True)
            for some, weight in zip(crops, weights, strict=True)
        ]
        cases.append(Case(title + ", backward alone", backwards[0], backwards[1]))
    return cases


def pyramid_cases() -> list[Case]:
    memory_formats = [torch.contiguous_format]
    if torch.get_default_device().type == "cuda":
        memory_formats.append(torch.channels_last)
    return [case for memory_format in memory_formats for case in pyramid_cases_of(memory_format)]


def pyramid_cases_of(memory_format: torch.memory_format) -> list[Case]:
    maps = [
        torch.randn(1, 256, int(800 * scale), int(1088 * scale)).to(memory_format=memory_format).requires_grad_()
        for scale in PYRAMID_SCALES
    ]
    rois = regions(512, 800, 1088)
    pooler = torchvision.ops.MultiScaleRoIAlign([str(level) for level in range(4)], 7, 2)

    def ours() -> Tensor:
        return ops.multilevel_roi_align(maps, rois, 7, PYRAMID_SCALES, 2)

    def theirs() -> Tensor:
        return pooler({str(level): one for level, one in enumerate(maps)}, [rois[:, 1:]], [(800, 1088)])

    label = "multilevel_roi_align 7 x 7, 4 levels of 800 x 1088 pixels, 512 regions"
    label += ", channels-last" if memory_format == torch.channels_last else ""
    return [
        Case(label, torch.no_grad()(ours), torch.no_grad()(theirs)),
        Case(label + ", with backward", lambda: backward(ours(), *maps), lambda: backward(theirs(), *maps)),
    ]


def mask_cases() -> list[Case]:
    """Masks of objects of 50 to 400 pixels in images of 800 x 1200, on the CPU alone."""
    masks, boxes, size = disc_masks(100, 28), objects(100, 800, 1200), (800, 1200)
    images = ops.paste_masks(masks, boxes, size)
    runs = ops.masks_to_rle(images)
    encoded = runs.to_coco()

    def pasted_by_torchvision() -> list[dict]:
        return encoded_by_pycocotools((paste_masks_in_image(masks[:, None], boxes, size) > 0.5)[:, 0])

    label = "100 masks of 800 x 1200"
    return [
        Case(
            "paste_masks_to_rle, 100 masks of 28 x 28 in 800 x 1200",
            lambda: ops.paste_masks_to_rle(masks, boxes, size).to_coco(),
            pasted_by_torchvision,
        ),
        Case(
            f"masks_to_rle, {label} (pycocotools)",
            lambda: ops.masks_to_rle(images).to_coco(),
            lambda: encoded_by_pycocotools(images),
        ),
        Case(
            f"rle_to_masks, {label} (pycocotools)",
            lambda: ops.rle_to_masks(ops.RunLengths.from_coco(encoded)),
            lambda: coco_masks.decode(encoded),
        ),
    ]


def encoded_by_pycocotools(images: Tensor) -> list[dict]:
    return [coco_masks.encode(np.asfortranarray(image)) for image in images.numpy().view(np.uint8)]


def disc_masks(count: int, side: int) -> Tensor:
    """Probabilities of discs, a little noisy."""
    distance = torch.linspace(-1, 1, side).square()
    disc = (distance[:, None] + distance < 0.8).float()
    return disc * 0.8 + torch.rand(count, side, side) * 0.2


def objects(count: int, height: int, width: int) -> Tensor:
    """Boxes with sides from 50 to 400 pixels, anywhere in the image."""
    sides = 50 + torch.rand(count, 2) * 350
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - sides)
    return torch.cat([corner, corner + sides], 1)


def forward_and_backward(op: Any, maps: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return backward(op(maps, *arguments), maps)


def backward(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, torch.ones_like(output))


def spread_boxes(count: int) -> Tensor:
    """Small boxes all over an image of 1000 x 1000 pixels, most of which are kept."""
    corner = torch.rand(count, 2) * 1000
    return torch.cat([corner, corner + 1 + torch.rand(count, 2) * 9], 1)


def clustered_boxes(count: int) -> Tensor:
    """Jittered boxes around 50 objects of 30 to 200 pixels, few of which are kept."""
    corner = torch.rand(50, 2) * 800
    objects = torch.cat([corner, corner + 30 + torch.rand(50, 2) * 170], 1)
    return objects[torch.randint(0, 50, (count,))] + torch.randn(count, 4) * 6


def regions(count: int, height: int, width: int) -> Tensor:
    """Regions of one image with sides from 16 to 512 pixels, evenly over the octaves."""
    sides = 16 * 2 ** (torch.rand(count, 2) * 5)
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - sides).clamp(min=0)
    return torch.cat([torch.zeros(count, 1), corner, corner + sides], 1)
