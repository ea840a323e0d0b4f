"""Write annotated images as LabelMe: a JSON file beside each image."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detkit.coco_files.segmentations import check_segmentation, encode_segmentation
from detkit.data.formats.writers import AnnotatedSplit, PutImage, suffix_of_copy, unique_stems
from detkit.files import json_text, write_into
from detkit.ops.masks import RunLengths, rle_to_masks


def write_labelme(splits: Sequence[AnnotatedSplit], folder: Path, _with_masks: bool, put_image: PutImage) -> None:
    """``{split}/`` with images and their JSON files, and the classes in ``labels.txt``.

    Polygons and run lengths are written as such, other objects as rectangles.
    """
    write_into(folder, "labels.txt", "".join(f"{name}\n" for name in splits[0].names))
    for split in splits:
        (folder / split.name).mkdir()
        stems, objects = unique_stems([split]), split.objects_of_images()
        for image in split.content["images"]:
            file = split.file_of(image)
            stem = stems[file]
            target = folder / split.name / f"{stem}{suffix_of_copy(file)}"
            put_image(file, target, image)
            content = {
                "version": "5.5.0",
                "flags": {},
                "shapes": _shapes(objects[image["id"]], split),
                "imagePath": target.name,
                "imageData": None,
                "imageHeight": image["height"],
                "imageWidth": image["width"],
            }
            write_into(folder, f"{split.name}/{stem}.json", json_text(content, indent=2, ensure_ascii=False))


def _shapes(objects: Sequence[Mapping[str, Any]], split: AnnotatedSplit) -> list[dict[str, Any]]:
    shapes: list[dict[str, Any]] = []
    groups = 0
    for one in objects:
        parts = _parts(one)
        groups += len(parts) > 1
        flags = {key: True for key in ("iscrowd", "difficult") if one.get(key)} | (
            {"iscrowd": True} if one.get("ignore") else {}
        )
        common = {
            "label": split.names[split.labels[one["category_id"]]],
            "group_id": groups if len(parts) > 1 else None,
            "description": "",
            "flags": flags,
        }
        shapes += [{**common, **part} for part in parts]
    return shapes


def _parts(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points, kind and mask of the shapes of an object."""
    segmentation = check_segmentation(one.get("segmentation"))
    if isinstance(segmentation, list):
        return [{"points": _pairs(ring), "shape_type": "polygon", "mask": None} for ring in segmentation]
    if segmentation is not None:
        runs = encode_segmentation(segmentation, None)
        pixels = rle_to_masks(RunLengths.from_coco([runs]))[0].numpy().astype(bool)
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if len(rows):
            top, bottom, left, right = (int(side) for side in (rows[0], rows[-1], columns[0], columns[-1]))
            mask = _png(pixels[top : bottom + 1, left : right + 1])
            return [{"points": [[left, top], [right, bottom]], "shape_type": "mask", "mask": mask}]
    x, y, width, height = one["bbox"]
    corners = [[x, y], [round(x + width, 6), round(y + height, 6)]]
    return [{"points": corners, "shape_type": "rectangle", "mask": None}]


def _pairs(ring: Sequence[float]) -> list[list[float]]:
    return [list(point) for point in zip(ring[0::2], ring[1::2], strict=True)]


def _png(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
