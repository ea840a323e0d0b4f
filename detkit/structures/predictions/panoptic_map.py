"""`PanopticMap`: the class and the instance of each pixel of one image, with the answers that it is merged from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from detkit.ops import RunLengths
from detkit.structures.image_fields import INSTANCES, PanopticIds
from detkit.structures.predictions.answer_part import PartOf
from detkit.structures.predictions.detections import Detections
from detkit.structures.predictions.image_source import ImageSource, OfImage
from detkit.structures.predictions.prediction import Prediction, conversions
from detkit.structures.predictions.rows import name_of
from detkit.structures.predictions.semantic_map import SemanticMap


@dataclass(frozen=True)
class PanopticSegment:
    """The pixels of one object, or all pixels of one class of stuff.

    Args:
        label: in ``0..K-1``.
        instance: the row of the object among the detections, from 1; 0 for stuff.
        score: of the object in [0, 1]; None for stuff.
        area: in pixels.
        name: of the class; None: the categories are unknown.
    """

    label: int
    instance: int
    score: float | None
    area: int
    name: str | None

    @property
    def value(self) -> int:
        """Of its pixels in the panoptic map."""
        return self.label * INSTANCES + self.instance


@dataclass(frozen=True, eq=False, repr=False)
class PanopticMap(Prediction):
    """The class and the instance of each pixel of one image, and the detections and classes that it is merged from.

    Args:
        panoptic_map: ``(H, W)`` int32 at the size of the image, ``label * 65536 + instance``, -1 where nothing is
            known. The instance of an object is its row in `detections`, from 1; that of stuff is 0.
        detections: all objects, best first, also those that the map leaves out.
        semantic: the class of each pixel.
        source: the image and the categories, which `predict` adds.

    Raises:
        TypeError, ValueError: a field has the wrong type, dtype or shape.
    """

    panoptic_map: Annotated[Tensor, PanopticIds()]
    detections: Annotated[Detections, PartOf(Detections)]
    semantic: Annotated[SemanticMap, PartOf(SemanticMap)]
    source: Annotated[ImageSource | None, OfImage()] = field(default=None, kw_only=True)

    @property
    def label_map(self) -> Tensor:
        """The class of each pixel, as of `SemanticMap`."""
        return self.semantic.label_map

    @property
    def boxes(self) -> Tensor:
        """Of the `detections`, and so are `scores`, `labels` and `masks`."""
        return self.detections.boxes

    @property
    def scores(self) -> Tensor:
        """Of the `detections`."""
        return self.detections.scores

    @property
    def labels(self) -> Tensor:
        """Of the `detections`."""
        return self.detections.labels

    @property
    def masks(self) -> Tensor | RunLengths | None:
        """Of the `detections`; objects may overlap in them."""
        return self.detections.masks

    def segments(self) -> list[PanopticSegment]:
        """The segments of the map: objects first, best first, then stuff by its label."""
        values, areas = torch.unique(self.panoptic_map[self.panoptic_map >= 0], return_counts=True)
        scores = self.detections.scores.tolist()
        found = []
        for value, area in zip(values.tolist(), areas.tolist(), strict=True):
            label, instance = divmod(value, INSTANCES)
            score = scores[instance - 1] if instance else None
            found.append(PanopticSegment(label, instance, score, area, name_of(label, self.categories)))
        return sorted(found, key=lambda one: (one.instance == 0, one.instance, one.label))

    def at_least(self, score: float) -> PanopticMap:
        """A copy with the detections that score at least `score`; nothing is known where the others were."""
        kept = int((self.detections.scores >= score).sum())
        is_left = self.panoptic_map % INSTANCES <= kept
        panoptic_map = torch.where((self.panoptic_map < 0) | is_left, self.panoptic_map, -1)
        return self.with_fitting({"panoptic_map": panoptic_map, "detections": self.detections[:kept]})

    def to_coco(self) -> tuple[list[dict[str, Any]], Any]:
        """The segments in COCO's panoptic format: ``segments_info``, and the pixels of its PNG, uint8 ``(H, W, 3)``.

        The id of a segment is ``R + 256 G + 65536 B`` of its pixels; pixels without a segment are black.

        Raises:
            InputError: the categories, whose ids are written, are unknown.
        """
        entry: tuple[list[dict[str, Any]], Any] = conversions().to_coco_panoptic(self)
        return entry

    def to_numpy(self) -> dict[str, np.ndarray]:
        """The maps and the fields of the detections as arrays, by name; see `Prediction.to_numpy`."""
        return {**super().to_numpy(), **self.semantic.to_numpy(), **self.detections.to_numpy()}

    def predicted_labels(self) -> list[int]:
        """The label of each segment, and of each detection that the map leaves out."""
        return [*(one.label for one in self.segments()), *self.detections.predicted_labels()]

    def __len__(self) -> int:
        return len(self.detections)

    def __repr__(self) -> str:
        """The size and the segments, such as ``480 x 640 pixels: 2 car, 1 person, road 61 %``."""
        height, width = self.panoptic_map.shape
        segments = self.segments()
        named = [(one, one.name or f"label {one.label}") for one in segments]
        counts = Counter(name for one, name in named if one.instance)
        shares = [f"{name} {100 * one.area / (height * width):.0f} %" for one, name in named if not one.instance]
        listed = [f"{count} {name}" for name, count in counts.most_common()] + shares
        more = ", …" if len(listed) > 10 else ""
        return f"{height} x {width} pixels" + (f": {', '.join(listed[:10])}{more}" if listed else "")
