"""`Detections` of one image, and a view of one `DetectedObject`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self, cast, overload

import numpy as np
import torch
from torch import Tensor

from detkit.ops import RunLengths, rle_to_masks
from detkit.structures.image_fields import Camera
from detkit.structures.meshes import Meshes
from detkit.structures.meshes.mesh_fields import FrustumVoxels, ObjectMeshes
from detkit.structures.object_fields import Boxes, Keypoints, Masks, Rows
from detkit.structures.predictions.image_source import ImageSource, OfImage
from detkit.structures.predictions.prediction import conversions
from detkit.structures.predictions.rows import is_row, name_of, row_of, rows_named
from detkit.structures.predictions.scored_prediction import ScoredPrediction

if TYPE_CHECKING:
    import supervision


class DetectedObject:
    """One object of some `Detections`: a view, which copies nothing.

    Args:
        detections: of the image.
        row: of the object.
    """

    def __init__(self, detections: Detections, row: int) -> None:
        self._detections, self._row = detections, row

    @property
    def box(self) -> Tensor:
        """``(4,)`` float32, ``x1 y1 x2 y2`` in pixels of the image."""
        return self._detections.boxes[self._row]

    @property
    def score(self) -> float:
        """In [0, 1]."""
        return float(self._detections.scores[self._row])

    @property
    def label(self) -> int:
        """In ``0..K-1``."""
        return int(self._detections.labels[self._row])

    @property
    def name(self) -> str | None:
        """The name of the class; None: the categories are unknown."""
        return name_of(self.label, self._detections.categories)

    @property
    def mask(self) -> Tensor | None:
        """``(H, W)`` bool at the size of the image; None without masks."""
        masks = self._detections.masks
        return None if masks is None else rle_to_masks(masks[self._row : self._row + 1])[0]

    @property
    def keypoints(self) -> Tensor | None:
        """``(J, 3)`` float32, ``x y score``; None without keypoints."""
        keypoints = self._detections.keypoints
        return None if keypoints is None else keypoints[self._row]

    @property
    def voxels(self) -> Tensor | None:
        """``(D, H, W)`` float32, see `Detections`; None without voxels."""
        voxels = self._detections.voxels
        return None if voxels is None else voxels[self._row]

    @property
    def mesh(self) -> Meshes | None:
        """`Meshes` of this object alone, see `Detections`; None without meshes."""
        meshes = self._detections.meshes
        return None if meshes is None else meshes[self._row]

    def __repr__(self) -> str:
        """Class, score and box, such as ``RBC 0.98 at (10, 20, 60, 75)``."""
        corners = ", ".join(f"{value:.0f}" for value in self.box.tolist())
        return f"{self.name or f'label {self.label}'} {self.score:.2f} at ({corners})"


@dataclass(frozen=True, eq=False, repr=False)
class Detections(ScoredPrediction):
    """The detections of one image, in the pixels of the image as it was given.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y score``.
        voxels: ``(N, D, H, W)`` float32, the probability that a cell of the frustum of the object's box is occupied;
            near cells first, then from top to bottom and from left to right.
        meshes: of N objects, float32, in the camera frame (x right, y down, z away from the camera). An image does not
            tell distances: the unit is the distance z of the object's center.
        camera: ``(3, 3)`` float32, the intrinsic matrix that meshes are seen with, in pixels of the image.
        source: the image and the categories, which `predict` adds.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Annotated[Tensor, Boxes()]
    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
    masks: Annotated[Tensor | RunLengths | None, Masks()] = None
    keypoints: Annotated[Tensor | None, Keypoints()] = None
    voxels: Annotated[Tensor | None, FrustumVoxels()] = None
    meshes: Annotated[Meshes | None, ObjectMeshes()] = None
    camera: Annotated[Tensor | None, Camera()] = None
    source: Annotated[ImageSource | None, OfImage()] = field(default=None, kw_only=True)

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @overload
    def __getitem__(self, index: int) -> DetectedObject: ...

    @overload
    def __getitem__(self, index: Tensor | slice) -> Self: ...

    def __getitem__(self, index: int | Tensor | slice) -> DetectedObject | Self:
        """One object for an integer; a copy with the selected ones for a mask, an index tensor or a slice."""
        if not is_row(index):
            return super().__getitem__(cast(Tensor, index))
        return DetectedObject(self, row_of(index, len(self)))

    def __iter__(self) -> Iterator[DetectedObject]:
        """Each object, best first."""
        return (DetectedObject(self, row) for row in range(len(self)))

    def __repr__(self) -> str:
        """The number of objects of each class, such as ``12 detections: 7 RBC, 5 WBC``."""
        counts = Counter(rows_named(self)).most_common()
        listed = ", ".join(f"{count} {name}" for name, count in counts[:10]) + (" …" if len(counts) > 10 else "")
        return f"{len(self)} detection{'' if len(self) == 1 else 's'}" + (f": {listed}" if counts else "")

    def to_coco(self, image_id: Any = None) -> list[dict[str, Any]]:
        """The detections in COCO's results format, ready for JSON: boxes as ``x y width height``, masks as run lengths.

        The format has no voxels and meshes: `detkit.mesh_files` writes these.

        Args:
            image_id: of the image in the annotations; None: the path or URL that `predict` was given.

        Raises:
            InputError: the categories, whose ids are written, are unknown; or there is no `image_id`.
        """
        entries: list[dict[str, Any]] = conversions().to_coco(self, image_id)
        return entries

    def to_supervision(self) -> supervision.Detections:
        """As ``supervision.Detections``: class names in ``data["class_name"]``, keypoints in ``data["keypoints"]``.

        Raises:
            InputError: supervision is not installed.
        """
        return conversions().to_supervision(self)

    def crops(self) -> list[np.ndarray]:
        """The part of the image within each box, uint8 RGB ``(h, w, 3)``: all pixels that the box touches.

        Raises:
            InputError: the image is unknown.
        """
        parts: list[np.ndarray] = conversions().crops(self)
        return parts
