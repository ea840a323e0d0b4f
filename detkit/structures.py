"""What travels between the rooms of detkit: a `Target` goes in, `Detections` or a `Classification` come out.

Symbols used in every docstring of the package:
    B images in a batch      N objects of an image     R regions of a batch
    K classes                J keypoints of an object  L feature levels
    H, W height and width    C channels                A anchors per location

Boxes are float32 ``(N, 4)`` as ``x1 y1 x2 y2`` in absolute, continuous pixels (width is ``x2 - x1``).
Labels are int64 in ``0..K-1``; background is never a label here.
"""

from __future__ import annotations

import functools
from dataclasses import MISSING, dataclass, fields, replace
from typing import Annotated, Any, Self, get_type_hints

import torch
from torch import Tensor

from detkit.categories import Category
from detkit.fields import Areas, Boxes, Keypoints, Masks, Rows
from detkit.geometry import Placement
from detkit.image_fields import Camera, ClassOfImage, Identity, LabelMap, RegionBoxes
from detkit.kind import Kind, Swaps
from detkit.ops import RunLengths

__all__ = ["UNUSED_LABEL", "Category", "Classification", "Detections", "Fields", "Target"]

UNUSED_LABEL = "N/A"
"""The name of labels that no class has, as torchvision's COCO models count them: evaluation leaves them out."""


class Fields:
    """What `Target` and the answers share.

    Each field is declared with its kind, ``boxes: Annotated[Tensor | None, Boxes()] = None``, which knows how the field
    is checked, moved and selected.
    """

    @classmethod
    @functools.cache
    def kinds(cls) -> dict[str, Kind]:
        """The kind of each field, in the order of the fields."""
        hints = get_type_hints(cls, include_extras=True)
        return {one.name: _kind_of(f"{cls.__name__}.{one.name}", hints[one.name]) for one in fields(cls)}

    def __post_init__(self) -> None:
        owner, required = type(self).__name__, self._required()
        count, counted = self._counted()
        for name, kind in self.kinds().items():
            value = getattr(self, name)
            if value is not None or name in required:
                kind.check(f"{owner}.{name}", value, count, counted)

    @classmethod
    @functools.cache
    def _required(cls) -> frozenset[str]:
        return frozenset(one.name for one in fields(cls) if one.default is MISSING)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._counted()[0]

    def _counted(self) -> tuple[int, str]:
        """How many objects there are, and which field tells so."""
        for name, kind in self.kinds().items():
            if kind.per_object and (value := getattr(self, name)) is not None:
                shape = getattr(value, "shape", None)
                return (shape[0] if shape else 0), name
        return 0, "objects"

    def to(self, device: torch.device | str) -> Self:
        """The same objects with every tensor on `device`."""
        return self._map(lambda kind, value: kind.to(value, device))

    def moved(self, placement: Placement, swaps: Swaps = ()) -> Self:
        """The same in another frame; nothing is cut or dropped.

        Args:
            placement: how the image lies in that frame.
            swaps: the keypoints that a mirror exchanges.
        """
        return self._map(lambda kind, value: kind.move(value, placement, swaps))

    def moved_to_network(self, placement: Placement) -> Self:
        """The same in the frame of a network's input; masks and areas stay as annotated."""
        return self._map(lambda kind, value: kind.move_to_network(value, placement))

    def __getitem__(self, index: Tensor | slice) -> Self:
        """The objects that `index` selects: a bool mask ``(N,)``, an int64 index tensor or a slice."""
        if not isinstance(index, (Tensor, slice)):
            raise TypeError(f"index {type(self).__name__} with a mask, an index tensor or a slice, got {index!r}")
        if isinstance(index, Tensor) and index.dtype == torch.bool:
            count, counted = self._counted()
            if index.shape != (count,):
                raise IndexError(f"a mask of shape {tuple(index.shape)} does not select of {count} {counted}")
            # The rows are looked up once, and not in each field: on a GPU each look-up waits.
            index = torch.where(index)[0]
        return self._map(lambda kind, value: kind.select(value, index))

    @property
    def has_run_lengths(self) -> bool:
        """Whether the masks are run-length encoded."""
        masks = getattr(self, "masks", None)
        return masks is not None and not isinstance(masks, Tensor)

    def _map(self, function) -> Self:
        values = {
            name: function(kind, value)
            for name, kind in self.kinds().items()
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **values)


def _kind_of(owner: str, hint: Any) -> Kind:
    kind = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Kind)), None)
    if kind is None:
        raise TypeError(f"{owner} must be declared with its kind: Annotated[…, Rows(torch.int64)], or another Kind")
    return kind


@dataclass(frozen=True, eq=False)
class Target(Fields):
    """The ground truth of one image. Every field may be None: it is not annotated, and nothing is learned of it.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y visibility`` as COCO: 0 absent, 1 hidden, 2 visible.
        iscrowd: ``(N,)`` bool. A crowd or ignore region: never learned from, neither as object nor as background.
        area: ``(N,)`` float32 in square pixels, as annotated.
        difficult: ``(N,)`` bool (PASCAL VOC).
        image_id: the image's id in its data set.
        image_label: the class of the image as a whole, in ``0..K-1``.
        label_map: ``(H, W)`` uint8 at the size of the image, the class of each pixel, 255 where it has none; int16 and
            -1 where there are more than 254 classes.
        camera: ``(3, 3)`` float32, the intrinsic matrix, in pixels.
        proposals: ``(P, 4)`` float32, regions that may be objects, best first.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Annotated[Tensor | None, Boxes()] = None
    labels: Annotated[Tensor | None, Rows(torch.int64)] = None
    masks: Annotated[Tensor | RunLengths | None, Masks()] = None
    keypoints: Annotated[Tensor | None, Keypoints()] = None
    iscrowd: Annotated[Tensor | None, Rows(torch.bool, absent=False)] = None
    area: Annotated[Tensor | None, Areas()] = None
    difficult: Annotated[Tensor | None, Rows(torch.bool, absent=False)] = None
    image_id: Annotated[Any, Identity()] = None
    image_label: Annotated[int | None, ClassOfImage()] = None
    label_map: Annotated[Tensor | None, LabelMap()] = None
    camera: Annotated[Tensor | None, Camera()] = None
    proposals: Annotated[Tensor | None, RegionBoxes()] = None

    @classmethod
    def empty(cls, image_id: Any = None, image_label: int | None = None) -> Target:
        """An image without objects."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), image_id=image_id, image_label=image_label)

    def objects(self) -> Self:
        """Without the crowd and ignore regions; looked up once."""
        return self if self._split[0] is None else self._split[0]

    def ignored_boxes(self) -> Tensor:
        """The boxes ``(M, 4)`` of crowd and ignore regions; none where no boxes are annotated."""
        return self._split[1]

    def to(self, device: torch.device | str) -> Self:
        """The same with every tensor on `device`; what is a crowd is looked up before, where the flags are on the CPU,
        so that nothing waits for a GPU to tell."""
        moved = super().to(device)
        if self.iscrowd is not None and self.iscrowd.device.type == "cpu":
            objects, ignored = self._split
            split = None if objects is None else objects.to(device), self.kinds()["boxes"].to(ignored, device)
            vars(moved)["_split"] = split
        return moved

    @functools.cached_property
    def _split(self) -> tuple[Self | None, Tensor]:
        """The objects, None where there are no others beside them, and the boxes of the crowds."""
        boxes, flags = self.boxes, self.iscrowd
        if flags is None:
            return None, torch.zeros(0, 4) if boxes is None else boxes[:0]
        no_boxes = torch.zeros(0, 4, device=flags.device) if boxes is None else boxes[:0]
        crowds = torch.where(flags)[0]
        if len(crowds) == 0:
            return None, no_boxes
        objects = self[~flags]
        vars(objects)["_split"] = None, no_boxes
        return objects, no_boxes if boxes is None else boxes[crowds]


@dataclass(frozen=True, eq=False)
class Detections(Fields):
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

    boxes: Annotated[Tensor, Boxes()]
    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
    masks: Annotated[Tensor | RunLengths | None, Masks()] = None
    keypoints: Annotated[Tensor | None, Keypoints()] = None

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@dataclass(frozen=True, eq=False)
class Classification(Fields):
    """What a classifier says of one image as a whole.

    Args:
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``, each class once.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
