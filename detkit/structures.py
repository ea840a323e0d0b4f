"""What travels between the rooms of detkit: a `Target` goes in, `Detections` or a `Classification` come out.

Symbols used in every docstring of the package:
    B images in a batch      N objects of an image     R regions of a batch
    K classes                J keypoints of an object  L feature levels
    H, W height and width    C channels                A anchors per location

Boxes are float32 ``(N, 4)`` as ``x1 y1 x2 y2`` in absolute, continuous pixels (width is ``x2 - x1``).
Labels are int64 in ``0..K-1``; background is never a label here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from detkit.ops import RunLengths


@dataclass(frozen=True)
class Category:
    """A class as its data set names it; the position in a list of categories is the label."""

    id: int
    name: str


UNUSED_LABEL = "N/A"
"""The name of labels that no class has, as torchvision's COCO models count them: evaluation leaves them out."""


class _Fields:
    """Moving and indexing, shared by `Target`, `Detections` and `Classification`: every tensor field has one row per
    object, and so have run-length encoded masks, which stay on the CPU."""

    def __len__(self) -> int:
        return len(getattr(self, self._first_field))

    @property
    def _first_field(self) -> str:
        return fields(self)[0].name

    def to(self, device: torch.device | str) -> Self:
        """The same objects with every tensor on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The objects that `index` selects: a bool mask ``(N,)``, an int64 index tensor or a slice."""
        if not isinstance(index, (Tensor, slice)):
            raise TypeError(f"index {type(self).__name__} with a mask, an index tensor or a slice, got {index!r}")
        others = {"masks": self.masks[index]} if self.has_run_lengths else {}
        return self._map(lambda tensor: tensor[index], **others)

    @property
    def has_run_lengths(self) -> bool:
        """Whether the masks are run-length encoded."""
        return getattr(self, "masks", None) is not None and not isinstance(self.masks, Tensor)

    def _map(self, function, **others: Any) -> Self:
        return replace(self, **{name: function(value) for name, value in self._tensors().items()}, **others)

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _check_masks(self) -> None:
        if not self.has_run_lengths:
            self._check("masks", (len(self.boxes), "H", "W"), torch.bool)
        elif not hasattr(self.masks, "counts"):
            name = f"{type(self).__name__}.masks"
            raise TypeError(f"{name} must be a bool tensor or RunLengths, got {type(self.masks).__name__}")
        elif len(self.masks) != len(self.boxes):
            owner = type(self).__name__
            raise ValueError(f"{owner}.masks must be {len(self.boxes)}, one for each box, got {len(self.masks)}")

    def _check(self, name: str, shape: tuple[int | str, ...], dtype: torch.dtype) -> None:
        """Field `name` must fit `shape`, in which a string names a size of any value, or be None where it may."""
        value = getattr(self, name)
        if value is None and self.__dataclass_fields__[name].default is None:
            return
        owner = f"{type(self).__name__}.{name}"
        if not isinstance(value, Tensor):
            raise TypeError(f"{owner} must be a tensor, got {type(value).__name__}")
        if value.dtype != dtype:
            raise TypeError(f"{owner} must be {dtype}, got {value.dtype}")
        fits = value.ndim == len(shape) and all(
            isinstance(want, str) or want == have for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
            first = self._first_field
            for_rows = "" if name == first else f" for {len(self)} {first}"
            raise ValueError(f"{owner} must have shape {wanted}{for_rows}, got {tuple(value.shape)}")


@dataclass(frozen=True, eq=False)
class Target(_Fields):
    """The ground truth of one image.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y visibility`` as COCO: 0 absent, 1 hidden, 2 visible.
        iscrowd: ``(N,)`` bool. A crowd or ignore region: never learned from, neither as object nor as background.
        area: ``(N,)`` float32 in square pixels, as annotated.
        difficult: ``(N,)`` bool (PASCAL VOC).
        image_id: the image's id in its data set.
        image_label: the class of the image as a whole, in ``0..K-1``; None where it has none.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | RunLengths | None = None
    keypoints: Tensor | None = None
    iscrowd: Tensor | None = None
    area: Tensor | None = None
    difficult: Tensor | None = None
    image_id: Any = None
    image_label: int | None = None

    def __post_init__(self) -> None:
        self._check("boxes", ("N", 4), torch.float32)
        count = len(self.boxes)
        self._check("labels", (count,), torch.int64)
        self._check_masks()
        self._check("keypoints", (count, "J", 3), torch.float32)
        self._check("iscrowd", (count,), torch.bool)
        self._check("area", (count,), torch.float32)
        self._check("difficult", (count,), torch.bool)
        if self.image_label is not None and type(self.image_label) is not int:
            raise TypeError(f"Target.image_label must be an int, got {type(self.image_label).__name__}")

    @classmethod
    def empty(cls, image_id: Any = None, image_label: int | None = None) -> Target:
        """An image without objects."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), image_id=image_id, image_label=image_label)

    def objects(self) -> Target:
        """Without the crowd and ignore regions."""
        return self if self.iscrowd is None else self[~self.iscrowd]

    def ignored_boxes(self) -> Tensor:
        """The boxes ``(M, 4)`` of crowd and ignore regions."""
        return self.boxes[:0] if self.iscrowd is None else self.boxes[self.iscrowd]


@dataclass(frozen=True, eq=False)
class Detections(_Fields):
    """What a detector says of one image, in the pixels of the image as it was given.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y score``.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | RunLengths | None = None
    keypoints: Tensor | None = None

    def __post_init__(self) -> None:
        self._check("boxes", ("N", 4), torch.float32)
        count = len(self.boxes)
        self._check("scores", (count,), torch.float32)
        self._check("labels", (count,), torch.int64)
        self._check_masks()
        self._check("keypoints", (count, "J", 3), torch.float32)

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Classification(_Fields):
    """What a classifier says of one image as a whole.

    Args:
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``, each class once.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    scores: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        self._check("scores", ("N",), torch.float32)
        self._check("labels", (len(self.scores),), torch.int64)
