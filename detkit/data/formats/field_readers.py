"""Readers of the fields of targets in a COCO file, listed in `COCO_READERS`.

Your own field needs a declaration in a subclass of `Target` and a reader in your data set class.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.coco_files import EntryList, encode_masks, read_keypoints, read_segmentations, stated_numbers_of_keypoints
from detkit.data.formats.fields.field_reader import CocoFile, FieldReader, annotation_name, numbers_of
from detkit.data.formats.fields.mesh_readers import CameraReader, MeshReader, VoxelReader
from detkit.data.maps.label_maps import LabelMapFiles
from detkit.data.maps.panoptic_maps import find_panoptic
from detkit.data.packed.columns import Column, ImageRegions, ImageRows, KeypointRows, MaskRows, ObjectRows
from detkit.data.packed.packed_json import PackedJson
from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers
from detkit.structures.categories import keypoint_category

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectNumbers(FieldReader):
    """One or more numbers under a key of each object's entry.

    The field is None where no object of the file has the key.

    Args:
        key: in the object's entry.
        dtype: of the field, a numpy name such as ``int64`` or ``float32``.
        row: shape of the numbers of an object; () for a single number.
        absent: the value of objects without the key; None: that is an error.
    """

    key: str
    dtype: str = "int64"
    row: tuple[int, ...] = ()
    absent: float | None = None

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> ObjectRows | None:
        if entries and not any(entry.get(self.key) is not None for entry in entries):
            return None
        values = np.empty((len(entries), *self.row), dtype=self.dtype)
        for row, entry in enumerate(entries):
            value, name = entry.get(self.key), f"{file.path}: the {self.key} of {annotation_name(entry)}"
            if value is None and self.absent is None:
                raise InputError(f"{name} is missing, but other objects have it: add it")
            values[row] = self.absent if value is None else numbers_of(value, self.row, self.dtype, name)
        return ObjectRows(values, self.key)


@dataclass(frozen=True)
class ImageNumbers(FieldReader):
    """One or more numbers under a key of each image's entry; None for images without it.

    Args:
        key: in the image's entry.
        dtype: of the field, a numpy name.
        row: shape of the numbers of an image; () for a single number.

    Raises:
        InputError: no image has the key.
    """

    key: str
    dtype: str = "float32"
    row: tuple[int, ...] = ()

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> ImageRows:
        known = np.array([entry.get(self.key) is not None for entry in entries], dtype=bool)
        if not known.any():
            raise InputError(f"{file.path}: no image has a '{self.key}', so it cannot be read from this file")
        values = np.zeros((len(entries), *self.row), dtype=self.dtype)
        for index in np.flatnonzero(known).tolist():
            name = f"{file.path}: the {self.key} of image {entries[index].get('id')!r}"
            values[index] = numbers_of(entries[index][self.key], self.row, self.dtype, name)
        return ImageRows(values, self.key, known)


@dataclass(frozen=True)
class RegionReader(FieldReader):
    """``proposals`` of an image: a list of ``x y width height``, best first; None for images without."""

    key: str = "proposals"

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> ImageRegions:
        listed = [entry.get(self.key) for entry in entries]
        for entry, regions in zip(entries, listed, strict=True):
            if regions is not None and not (
                isinstance(regions, list) and all(is_finite_numbers(one, 4) for one in regions)
            ):
                raise InputError(
                    f"{file.path}: the {self.key} of image {entry.get('id')!r} must be a list of boxes, each of four "
                    "finite numbers: x, y, width, height"
                )
        if all(regions is None for regions in listed):
            raise InputError(
                f"{file.path}: no image has '{self.key}': write them there, or give data.proposals, such as "
                "{class_path: detkit.proposals.SelectiveSearch}, which computes them"
            )
        return ImageRegions(PackedJson.pack(listed), self.key)


@dataclass(frozen=True)
class MaskReader(FieldReader):
    """``segmentation``: polygons, run lengths or compressed run lengths; the filled box where there is none.

    Args:
        warns: log how many objects have none.
    """

    warns: bool = True

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> MaskRows:
        listed = EntryList(entries, "annotation", str(file.path), is_whole=False)
        values = read_segmentations(listed)
        absent = [row for row, value in enumerate(values) if value is None]
        if absent and self.warns:
            logger.warning(
                "%s: %d of %d objects have no mask (first: %s); their filled boxes are used",
                file.path, len(absent), len(entries), listed.name(absent[0]),
            )  # fmt: skip
        encoded = {row: value for row, value in enumerate(values) if isinstance(value, dict)}
        sizes = [file.image_sizes.get(entries[row]["image_id"], (0, 0)) for row in encoded]
        encode_masks(listed, list(encoded), list(encoded.values()), np.array(sizes, dtype=np.int64).reshape(-1, 2))
        return MaskRows(PackedJson.pack(values))


class KeypointReader(FieldReader):
    """``keypoints``: three numbers for each keypoint of the first category with keypoints; zeros where absent."""

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> KeypointRows:
        listed = EntryList(entries, "annotation", str(file.path), is_whole=False)
        category = keypoint_category(file.categories)
        if category is None:
            raise InputError(
                f"{file.path}: no category names its 'keypoints', so keypoints cannot be read from this file"
            )
        count = len(category.keypoints)
        keypoints = np.zeros((len(entries), count, 3), dtype=np.float32)
        for row, values in enumerate(read_keypoints(listed, count)):
            if values:
                keypoints[row] = np.reshape(values, (count, 3))
        stated_numbers_of_keypoints(listed)  # only checked: evaluation reads them
        return KeypointRows(keypoints)


@dataclass(frozen=True)
class LabelMapReader(FieldReader):
    """``label_map``: a PNG of one channel whose values are category ids; see `LabelMapFiles`."""

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> Column:
        return LabelMapFiles.find(entries, file.path, file.images_path, [category.id for category in file.categories])


@dataclass(frozen=True)
class PanopticReader(FieldReader):
    """``panoptic_map``: from the panoptic file beside this one; see `find_panoptic`."""

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> Column:
        return find_panoptic(file.path, entries, file.categories)


COCO_READERS: Mapping[str, FieldReader] = {
    "masks": MaskReader(),
    "keypoints": KeypointReader(),
    "label_map": LabelMapReader(),
    "panoptic_map": PanopticReader(),
    "camera": CameraReader(),
    "proposals": RegionReader(),
    "meshes": MeshReader(),
    "voxels": VoxelReader(),
}
"""The readers of the fields that are read on request."""
