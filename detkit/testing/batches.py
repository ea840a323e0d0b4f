"""The batches that heads are checked with: images, maps, and targets of every kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from detkit.geometry import Placement, Size
from detkit.heads import Context
from detkit.preprocess import Batch
from detkit.structures import Meshes, PointClouds, Target
from detkit.structures.meshes import icosphere

CASES = ("objects", "crowds alone", "no objects", "no annotation")
"""What the images of a batch hold, see `Batches.targets`."""

_SCALE = 2  # from the images as given to the network's frame
_BORDER = 4  # a border is this part of the network's frame: at the top in one image, at the right in the other
_QUARTERS = ((0, 0), (1, 0), (0, 1), (1, 1))  # (x, y) of the quarters of an image
_KEYPOINTS = 5


class Batches:
    """Batches of two images, made from a seed.

    Args:
        channels: of the maps that the head gets.
        strides: of the maps, finest first.
        num_classes: classes of the objects.
        image_size: (height, width) of the network's input.
        change_target: makes the target of your own class of one of `Target`.
        keypoints: of each object.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        num_classes: int,
        image_size: Size,
        change_target: Callable[[Target], Target] | None = None,
        keypoints: int = _KEYPOINTS,
    ) -> None:
        self.channels, self.strides = list(channels), list(strides)
        self.num_classes, self.size, self.keypoints = num_classes, image_size, keypoints
        self.change_target = change_target or (lambda target: target)

    def features(self, seed: int = 0) -> list[Tensor]:
        """Maps of both images, to which gradients flow."""
        generator = torch.Generator().manual_seed(seed)
        shapes = [[math.ceil(side / stride) for side in self.size] for stride in self.strides]
        return [
            torch.randn(2, channels, *shape, generator=generator).requires_grad_()
            for channels, shape in zip(self.channels, shapes, strict=True)
        ]

    def context(
        self, targets: Sequence[Target] | None = None, seed: int = 0, given_size: Size | None = None
    ) -> Context:
        """The batch with `targets` in its frame, and all sampling from `seed`.

        Args:
            targets: of both images, in pixels of the images as given; None outside of training.
            seed: of ``context.generator``.
            given_size: (height, width) of the images as given; None: half of the network's input.
        """
        usual = Placement.resize(self.given_size, self.size)
        placement = usual if given_size is None else Placement.resize(given_size, self.size)
        batch = Batch(torch.zeros(2, 3, *self.size), [placement] * 2)
        moved = None if targets is None else [one.moved_to_network(placement) for one in targets]
        given = [one.moved_to_network(usual) for one in self.targets("objects")]
        return Context(batch, moved, given, torch.Generator().manual_seed(seed))

    def letterboxed(self, targets: Sequence[Target], seed: int, known: bool = True) -> Context:
        """The batch of images with a border, which are scaled differently along x and y.

        Args:
            targets: of both images, in pixels of the images as given.
            seed: of ``context.generator``.
            known: whether it has targets.
        """
        height, width = self.size
        given_height, given_width = self.given_size
        inner = ((0, height // _BORDER, width, height), (0, 0, width - width // _BORDER, height))
        given = (0, 0, given_width, given_height)
        placements = [Placement.part(self.given_size, given, one, self.size) for one in inner]
        moved = [one.moved_to_network(place) for one, place in zip(targets, placements, strict=True)]
        batch = Batch(torch.zeros(2, 3, height, width), placements)
        return Context(batch, moved if known else None, moved, torch.Generator().manual_seed(seed))

    def targets_apart(self, objects: int) -> list[Target]:
        """Targets with up to three objects each that do not overlap, in pixels of the images as given."""
        return [self.change_target(self._apart(image)[:objects]) for image in range(2)]

    @property
    def given_size(self) -> Size:
        """(height, width) of the images as given."""
        return self.size[0] // _SCALE, self.size[1] // _SCALE

    def targets(self, case: str) -> list[Target]:
        """The targets of both images, in pixels of the images as given: one of `CASES`."""
        if case == "no annotation":
            return [Target(image_id=image) for image in range(2)]
        if case == "no objects":
            return [self.change_target(self._made(image)[:0]) for image in range(2)]
        return [self.change_target(self._made(image, crowd=case != "objects")) for image in range(2)]

    def _apart(self, image: int) -> Target:
        """Objects in three quarters of the image."""
        generator = torch.Generator().manual_seed(20 + image)
        height, width = self.given_size
        quarter = torch.tensor([width, height]) / 2
        sides = (0.65 + 0.2 * torch.rand(3, 2, generator=generator)) * quarter
        origins = torch.tensor(_QUARTERS[image : image + 3]) * quarter
        return self._target(image, origins + (quarter - sides) / 2, sides, image, False, generator)

    def _made(self, image: int, crowd: bool = False) -> Target:
        """Four objects, or four crowd regions."""
        generator = torch.Generator().manual_seed(10 + image)
        height, width = self.given_size
        sides = (0.2 + 0.3 * torch.rand(4, 2, generator=generator)) * torch.tensor([width, height])
        corners = torch.rand(4, 2, generator=generator) * (torch.tensor([width, height]) - sides)
        return self._target(image, corners, sides, 0, crowd, generator)

    def _target(
        self, image: int, corners: Tensor, sides: Tensor, first_label: int, crowd: bool, generator: torch.Generator
    ) -> Target:
        """A target with every field."""
        (height, width), count = self.given_size, len(corners)
        boxes = torch.cat((corners, corners + sides), dim=1)
        labels = (first_label + torch.arange(count)) % self.num_classes
        points = corners[:, None] + torch.rand(count, self.keypoints, 2, generator=generator) * sides[:, None]
        label_map = torch.full(self.given_size, 255, dtype=torch.uint8)
        masks = torch.zeros(count, height, width, dtype=torch.bool)
        for row, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
            masks[row, y1 : y2 + 1, x1 : x2 + 1] = True
            label_map[masks[row]] = int(labels[row])
        return Target(
            boxes,
            labels,
            masks=masks,
            keypoints=torch.cat((points, torch.full((count, self.keypoints, 1), 2.0)), dim=2),
            iscrowd=torch.full((count,), crowd),
            area=sides.prod(dim=1),
            difficult=torch.zeros(count, dtype=torch.bool),
            image_id=image,
            image_label=int(labels[0]),
            label_map=label_map,
            camera=torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=torch.float32),
            proposals=boxes + torch.randn(count, 4, generator=generator),
            meshes=_ellipsoids(boxes, (height, width)),
            voxels=PointClouds(_ellipsoids(boxes, (height, width)).vertices_list()),
        )


def _ellipsoids(boxes: Tensor, size: Size) -> Meshes:
    """An ellipsoid that fills each box where the focal length is the width of the image, at distances from 4 on."""
    sphere, (height, width), meshes = icosphere(1), size, []
    for number, box in enumerate(boxes):
        distance = 4 + number / 2
        low, high = ((corner - box.new_tensor((width / 2, height / 2))) * distance / width for corner in box.view(2, 2))
        center, radii = (low + high) / 2, (high - low) / 2
        across = sphere.vertices[:, :2] * radii + center
        meshes.append(torch.cat((across, distance + sphere.vertices[:, 2:] * radii.mean()), dim=1))
    return Meshes(meshes, [sphere.faces] * len(boxes))
