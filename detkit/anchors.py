"""Anchors: grids of reference boxes for dense heads, SSD's default boxes, and k-means clustering of sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.errors import InputError


class AnchorGenerator(nn.Module):
    """Boxes of given sizes and shapes at every location of every feature level (Faster R-CNN, section 3.1.1).

    An anchor of size ``s`` and aspect ratio ``r = height / width`` has area ``s^2``. Its corners are rounded to whole
    pixels around the origin, as in the authors' code, then shifted to ``(x, y) * stride`` of each cell.

    Args:
        sizes: one sequence of sizes in pixels for each level.
        aspect_ratios: height / width, the same at every level.
        strides: pixels between the cells of each level, with corners that are not rounded. None: the integer ratio of
            the image to the grid.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        for level, level_sizes in enumerate(sizes):
            base = _base_anchors(level_sizes, aspect_ratios)
            self.register_buffer(f"base{level}", base.round() if strides is None else base, persistent=False)
        self.sizes = [list(level_sizes) for level_sizes in sizes]
        self.aspect_ratios = list(aspect_ratios)
        self.strides = strides
        self.levels = len(sizes)
        self.per_location = [len(level_sizes) * len(aspect_ratios) for level_sizes in sizes]

    def forward(self, grid_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> list[Tensor]:
        """Anchors ``(Hi * Wi * A, 4)`` of each level, in the order (y, x, anchor).

        Args:
            grid_sizes: (height, width) of each feature level.
            image_size: (height, width) in pixels of the padded batch. Without strides the step between cells is its
                integer ratio to the grid, so that a level made by rounding up (P6) still spans the image.
        """
        return [
            _shifted(getattr(self, f"base{level}"), grid_size, self._steps(level, grid_size, image_size))
            for level, grid_size in enumerate(grid_sizes)
        ]

    def _steps(self, level: int, grid_size: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
        """Pixels between the cells of a level, vertically and horizontally."""
        if self.strides is not None:
            return self.strides[level], self.strides[level]
        return image_size[0] // grid_size[0], image_size[1] // grid_size[1]


def _base_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> Tensor:
    sides = torch.tensor(sizes, dtype=torch.float32)
    height_ratios = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    heights = (height_ratios[:, None] * sides).flatten()
    widths = ((1 / height_ratios)[:, None] * sides).flatten()
    return torch.stack((-widths, -heights, widths, heights), dim=1) / 2


def _shifted(base: Tensor, grid_size: tuple[int, int], steps: tuple[int, int]) -> Tensor:
    y, x = (
        torch.arange(cells, device=base.device, dtype=base.dtype) * step
        for cells, step in zip(grid_size, steps, strict=True)
    )
    y, x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack((x, y, x, y), dim=-1)
    return (shifts[:, :, None] + base).reshape(-1, 4)


class DefaultBoxes(nn.Module):
    """SSD's default boxes: several shapes at the center of every cell of every level (Liu 2016, section 2.2).

    With the size ``s_k`` of its level and ``s_{k+1}`` of the next one, a cell has a square of side ``s_k``, a square of
    side ``sqrt(s_k s_{k+1})``, and for each further aspect ratio ``r`` two boxes with the sides ``s_k sqrt(r)`` and
    ``s_k / sqrt(r)``: one in landscape, one in portrait orientation.

    Args:
        sizes: one per level and one more, in pixels or `relative`.
        aspect_ratios: for each level the ratios other than 1, each above 1.
        steps: pixels between the cells of each level; None spreads them evenly over the image, as the paper does.
        relative: `sizes` are fractions of the width and height of the image.
        clip: limit the width and height of boxes to those of the image, as torchvision does.

    Raises:
        InputError: `sizes`, `aspect_ratios` and `steps` are for different numbers of levels.
    """

    def __init__(
        self,
        sizes: Sequence[float],
        aspect_ratios: Sequence[Sequence[float]],
        steps: Sequence[float] | None = None,
        relative: bool = False,
        clip: bool = False,
    ) -> None:
        super().__init__()
        if len(sizes) != len(aspect_ratios) + 1 or (steps is not None and len(steps) != len(aspect_ratios)):
            raise InputError(
                f"default boxes of {len(aspect_ratios)} levels, by their aspect ratios {_listed(aspect_ratios)}, need "
                f"a size for each and one more, and a step for each or none, got sizes {list(sizes)} and steps "
                f"{steps if steps is None else list(steps)}"
            )
        for level, ratios in enumerate(aspect_ratios):
            shapes = _default_shapes(sizes[level], sizes[level + 1], ratios)
            self.register_buffer(f"shapes{level}", shapes, persistent=False)
        self.sizes = list(sizes)
        self.aspect_ratios = _listed(aspect_ratios)
        self.per_location = [2 + 2 * len(ratios) for ratios in aspect_ratios]
        self.steps = list(steps) if steps is not None else [None] * len(aspect_ratios)
        self.relative = relative
        self.clip = clip

    def forward(self, grid_sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> list[Tensor]:
        """Default boxes ``(Hi * Wi * A, 4)`` of each level, in the order (y, x, box).

        Args:
            grid_sizes: (height, width) of each feature level.
            image_size: (height, width) of the image batch in pixels.
        """
        return [
            self._of_level(getattr(self, f"shapes{level}"), step, grid_size, image_size)
            for level, (step, grid_size) in enumerate(zip(self.steps, grid_sizes, strict=True))
        ]

    def _of_level(
        self, shapes: Tensor, step: float | None, grid_size: tuple[int, int], image_size: tuple[int, int]
    ) -> Tensor:
        # As fractions of the image, as torchvision computes them: boxes that tie there tie here.
        axes = []
        for cells, pixels in zip(grid_size, image_size, strict=True):
            fitting = cells if step is None else pixels / step
            axes.append((torch.arange(cells, device=shapes.device, dtype=shapes.dtype) + 0.5) / fitting)
        y, x = torch.meshgrid(*axes, indexing="ij")
        centers = torch.stack((x, y), dim=-1)[:, :, None]
        whole = shapes.new_tensor([image_size[1], image_size[0]])
        fractions = shapes if self.relative else shapes / whole
        half = 0.5 * (fractions.clamp(max=1) if self.clip else fractions)
        return torch.cat(((centers - half) * whole, (centers + half) * whole), dim=-1).reshape(-1, 4)


def default_scales(
    levels: int, smallest: float = 0.2, largest: float = 0.9, finest: float | None = None
) -> list[float]:
    """Evenly spaced scales of the default boxes, one per level and the next one after them (SSD, eq. 4).

    Args:
        levels: number of feature levels.
        smallest: scale of the finest level, as a fraction of the image.
        largest: scale of the coarsest level.
        finest: scale of a level below those of the equation, such as SSD300's conv4_3 (section 3.1), which is one of
            `levels`. None: the equation gives all levels.
    """
    spaced = levels if finest is None else levels - 1
    distance = (largest - smallest) / max(spaced - 1, 1)
    scales = [smallest + distance * k for k in range(spaced + 1)]
    return scales if finest is None else [finest, *scales]


def _default_shapes(size: float, next_size: float, aspect_ratios: Sequence[float]) -> Tensor:
    """Width and height ``(2 + 2 * len(aspect_ratios), 2)`` of the default boxes of a level."""
    between = math.sqrt(size * next_size)
    shapes = [(size, size), (between, between)]
    for ratio in aspect_ratios:
        long, short = size * math.sqrt(ratio), size / math.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return torch.tensor(shapes, dtype=torch.float32)


def _listed(aspect_ratios: Sequence[Sequence[float]]) -> list[list[float]]:
    return [list(ratios) for ratios in aspect_ratios]


def kmeans_anchors(sizes: Tensor, count: int, seed: int = 0, max_rounds: int = 1000) -> Tensor:
    """Fit anchors to the sizes of boxes by k-means with the distance ``1 - IoU`` of shapes (YOLOv2, section 2).

    Each box is assigned to the nearest anchor, and each anchor becomes the mean size of its boxes, until the assignment
    no longer changes. An anchor without boxes keeps its size.

    Args:
        sizes: width and height ``(N, 2)`` in pixels, all positive.
        count: number of anchors.
        seed: of the initial anchors, which are drawn among the boxes by k-means++.
        max_rounds: limit of iterations.

    Returns:
        Width and height ``(count, 2)``, smallest area first.

    Raises:
        InputError: there are fewer distinct sizes than anchors.
    """
    sizes = sizes.double()
    distinct = len(torch.unique(sizes, dim=0))
    if distinct < count:
        raise InputError(f"{count} anchors need as many boxes of different sizes, got {distinct}")
    generator = torch.Generator().manual_seed(seed)
    anchors = sizes[torch.randint(len(sizes), (1,), generator=generator)]
    while len(anchors) < count:
        distances = (1 - shape_iou(sizes, anchors).amax(dim=1)).clamp(min=0)
        anchors = torch.cat((anchors, sizes[torch.multinomial(distances, 1, generator=generator)]))
    nearest = None
    for _ in range(max_rounds):
        before, nearest = nearest, shape_iou(sizes, anchors).argmax(dim=1)
        if before is not None and torch.equal(nearest, before):
            break
        members = torch.bincount(nearest, minlength=count)[:, None]
        sums = torch.zeros_like(anchors).index_add_(0, nearest, sizes)
        anchors = torch.where(members > 0, sums / members.clamp(min=1), anchors)
    return anchors[anchors.prod(dim=1).argsort()].float()


def shape_iou(sizes: Tensor, anchors: Tensor) -> Tensor:
    """IoU ``(N, A)`` of boxes of `sizes` ``(N, 2)`` and of `anchors` ``(A, 2)`` with a common center."""
    intersection = torch.minimum(sizes[:, None], anchors).prod(dim=-1)
    return intersection / (sizes.prod(dim=-1)[:, None] + anchors.prod(dim=-1) - intersection)
