"""Annotations in a few numpy arrays.

Millions of small Python objects would be copied into every worker process as their reference counts change; a
handful of arrays stays shared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detkit.structures import Category


@dataclass(frozen=True)
class PackedJson:
    """Any list of JSON values in two arrays: the text of value i is ``text[offsets[i]:offsets[i + 1]]``."""

    text: np.ndarray
    offsets: np.ndarray

    @classmethod
    def pack(cls, values: Sequence[Any]) -> PackedJson:
        """Pack the values; ``None`` is a value too."""
        texts = [json.dumps(value, separators=(",", ":")).encode() for value in values]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts], dtype=np.int64)])
        return cls(np.frombuffer(b"".join(texts), np.uint8), offsets.astype(np.int64))

    def __getitem__(self, index: int) -> Any:
        return json.loads(self.text[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def select(self, keep: np.ndarray) -> PackedJson:
        """The values at the indices `keep`."""
        return PackedJson.pack([self[index] for index in keep])


@dataclass(frozen=True)
class PackedAnnotations:
    """What `detkit.data.annotations` reads: n images, m annotations ordered by image.

    Args:
        categories: sorted by id; an annotation's label is the position in this list.
        keypoint_names: the J names of the first category that has keypoints.
        image_ids: ``(n,)`` int64 or str.
        file_names: ``(n,)`` str, relative to the images folder.
        image_sizes: ``(n, 2)`` int64 height and width in pixels.
        offsets: ``(n + 1,)``; the annotations of image i are ``offsets[i]:offsets[i + 1]``.
        boxes: ``(m, 4)`` float32 ``x1 y1 x2 y2`` in pixels, clipped to the image.
        labels: ``(m,)`` int64.
        areas: ``(m,)`` float32 in square pixels.
        iscrowd: ``(m,)`` bool, crowd or ignore.
        segmentations: m polygons or RLEs as in the file, or None where not asked for.
        keypoints: ``(m, J, 3)`` float32, or None where not asked for.
        difficult: ``(m,)`` bool, or None where no annotation says whether it is.
        dropped: ids of the annotations that were left out because of a bad box.
        image_labels: ``(n,)`` int64 class of each image as a whole, or None where they have none.
    """

    categories: list[Category]
    keypoint_names: list[str]
    image_ids: np.ndarray
    file_names: np.ndarray
    image_sizes: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    iscrowd: np.ndarray
    segmentations: PackedJson | None
    keypoints: np.ndarray | None
    difficult: np.ndarray | None
    dropped: list[Any]
    image_labels: np.ndarray | None = None

    def select_images(self, keep: np.ndarray) -> PackedAnnotations:
        """The same with only the images at the indices `keep`."""
        spans = [np.arange(self.offsets[index], self.offsets[index + 1]) for index in keep]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        return replace(
            self,
            image_ids=self.image_ids[keep],
            file_names=self.file_names[keep],
            image_sizes=self.image_sizes[keep],
            offsets=np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64),
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            areas=self.areas[rows],
            iscrowd=self.iscrowd[rows],
            segmentations=None if self.segmentations is None else self.segmentations.select(rows),
            keypoints=None if self.keypoints is None else self.keypoints[rows],
            difficult=None if self.difficult is None else self.difficult[rows],
            image_labels=None if self.image_labels is None else self.image_labels[keep],
        )

    def select_objects(self, kept: np.ndarray) -> PackedAnnotations:
        """The same with only the annotations of the mask `kept` ``(m,)``; all images stay."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return replace(
            self,
            offsets=before[self.offsets].astype(np.int64),
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            areas=self.areas[kept],
            iscrowd=self.iscrowd[kept],
            segmentations=None if self.segmentations is None else self.segmentations.select(np.flatnonzero(kept)),
            keypoints=None if self.keypoints is None else self.keypoints[kept],
            difficult=None if self.difficult is None else self.difficult[kept],
        )

    def to_coco(self) -> dict[str, Any]:
        """The content of a COCO file with the same images, boxes and masks; no keypoints.

        Where images have a class as a whole, it is the ``category_id`` of the image.
        """
        images = zip(self.image_ids.tolist(), self.file_names.tolist(), self.image_sizes.tolist(), strict=True)
        corners = self.boxes.astype(np.float64)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
        annotations = [
            {
                "id": row + 1,
                "image_id": self.image_ids[image].item(),
                "category_id": self.categories[self.labels[row]].id,
                "bbox": boxes[row],
                "area": float(self.areas[row]),
                "iscrowd": int(self.iscrowd[row]),
            }
            for image in range(len(self.image_ids))
            for row in range(self.offsets[image], self.offsets[image + 1])
        ]
        for row, annotation in enumerate(annotations):
            if self.difficult is not None:
                annotation["difficult"] = int(self.difficult[row])
            if self.segmentations is not None and self.segmentations[row] is not None:
                annotation["segmentation"] = self.segmentations[row]
        entries = [
            {"id": key, "file_name": name, "height": height, "width": width} for key, name, (height, width) in images
        ]
        if self.image_labels is not None:
            for entry, label in zip(entries, self.image_labels.tolist(), strict=True):
                entry["category_id"] = self.categories[label].id
        return {
            "images": entries,
            "annotations": annotations,
            "categories": [{"id": category.id, "name": category.name} for category in self.categories],
        }
