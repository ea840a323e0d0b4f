"""All annotations of a data set in a few numpy arrays.

Millions of small Python objects would be copied into every worker process as their reference counts change; a few
arrays stay shared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detkit.data.packed.columns import Column, ImageFacts, ImageLabels, NumberRows
from detkit.data.packed.packed_json import PackedJson
from detkit.structures.categories import Category, to_coco

__all__ = ["PackedAnnotations", "PackedJson"]


@dataclass(frozen=True)
class PackedAnnotations:
    """n images and their m annotations, ordered by image.

    Args:
        categories: sorted by id; an annotation's label is the position in this list.
        image_ids: ``(n,)`` int64 or str.
        file_names: ``(n,)`` str, relative to the images folder.
        image_sizes: ``(n, 2)`` int64 height and width in pixels.
        offsets: ``(n + 1,)``; the annotations of image i are ``offsets[i]:offsets[i + 1]``.
        columns: the annotated fields, by the names of the fields of targets.
        dropped: the positions in the file's list of the annotations that were left out because of a bad box.
    """

    categories: list[Category]
    image_ids: np.ndarray
    file_names: np.ndarray
    image_sizes: np.ndarray
    offsets: np.ndarray
    columns: Mapping[str, Column]
    dropped: list[int]

    @property
    def boxes(self) -> np.ndarray:
        """``(m, 4)`` float32 ``x1 y1 x2 y2`` in pixels, clipped to the image; empty where there are no objects."""
        return self._values("boxes", np.zeros((0, 4), dtype=np.float32))

    @property
    def labels(self) -> np.ndarray:
        """``(m,)`` int64."""
        return self._values("labels", np.zeros(0, dtype=np.int64))

    @property
    def iscrowd(self) -> np.ndarray:
        """``(m,)`` bool, crowd or ignore."""
        return self._values("iscrowd", np.zeros(len(self.boxes), dtype=bool))

    @property
    def image_labels(self) -> np.ndarray:
        """``(n,)`` int64, the class of each image; empty where images have none."""
        column = self.columns.get("image_label")
        return column.values if isinstance(column, ImageLabels) else np.zeros(0, dtype=np.int64)

    def _values(self, name: str, absent: np.ndarray) -> np.ndarray:
        column = self.columns.get(name)
        return column.values if isinstance(column, NumberRows) else absent

    def fields(self, index: int, names: Collection[str], source: str) -> dict[str, Any]:
        """The fields of an image's target.

        Args:
            index: of the image.
            names: of the fields to read.
            source: of the annotations, for messages.
        """
        span = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        height, width = self.image_sizes[index].tolist()
        column = self.columns.get("boxes")
        boxes = column.values[span] if isinstance(column, NumberRows) else None
        image = ImageFacts((height, width), boxes, self.image_ids[index].item(), source)
        own = slice(index, index + 1)
        return {
            name: column.field(span if column.per_object else own, image)
            for name, column in self.columns.items()
            if name in names
        }

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
            columns={name: column.select(rows if column.per_object else keep) for name, column in self.columns.items()},
        )

    def select_objects(self, kept: np.ndarray) -> PackedAnnotations:
        """The same with only the annotations of the mask `kept` ``(m,)``; all images stay."""
        before, rows = np.concatenate([[0], np.cumsum(kept)]), np.flatnonzero(kept)
        return replace(
            self,
            offsets=before[self.offsets].astype(np.int64),
            columns={
                name: column.select(rows) if column.per_object else column for name, column in self.columns.items()
            },
        )

    def to_coco(self) -> dict[str, Any]:
        """The content of a COCO file with the same images and annotations.

        The class of an image is its ``category_id``.
        """
        object_columns = [column for column in self.columns.values() if column.per_object]
        image_columns = [column for column in self.columns.values() if not column.per_object]
        annotations: list[dict[str, Any]] = []
        entries: list[dict[str, Any]] = []
        images = zip(self.image_ids.tolist(), self.file_names.tolist(), self.image_sizes.tolist(), strict=True)
        for index, (image_id, file_name, (height, width)) in enumerate(images):
            entry = {"id": image_id, "file_name": file_name, "height": height, "width": width}
            entries.append(entry | _merged(image_columns, index))
            for row in range(self.offsets[index], self.offsets[index + 1]):
                annotations.append({"id": row + 1, "image_id": image_id, **_merged(object_columns, row)})
        categories = [to_coco(category) for category in self.categories]
        return {"images": entries, "annotations": annotations, "categories": categories}


def _merged(columns: list[Column], row: int) -> dict[str, Any]:
    return {key: value for column in columns for key, value in column.entry(row).items()}
