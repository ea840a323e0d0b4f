"""The ground truth of a COCO annotation file, checked and completed for evaluation."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as rle_masks

from detkit.errors import InputError
from detkit.evaluation import well_formed
from detkit.evaluation.packed import Masks, Objects
from detkit.ops import RunLengths
from detkit.ops import backend as ops_backend
from detkit.structures import Category

logger = logging.getLogger(__name__)

IouType = Literal["bbox", "segm", "keypoints"]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is evaluated against.

    Args:
        source: how messages name it: the path of the file, or ``annotations``.
        categories: the categories, sorted by id.
        image_ids: the images that count, in the order in which COCO's evaluation visits them.
        image_sizes: ``(height, width)`` of an image id, where the file tells.
        objects: the objects, with images by their position in `image_ids` and categories by theirs in `categories`.
    """

    source: str
    categories: list[Category]
    image_ids: list[Any]
    image_sizes: dict[Any, tuple[int, int]]
    objects: Objects
    image_numbers: dict[Any, int] = field(init=False)
    category_positions: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_numbers", _positions(self.image_ids))
        object.__setattr__(self, "category_positions", _by_id(self.categories))

    def number_of(self, image_id: Any, place: str) -> int:
        """The position of `image_id`, which was met at `place`.

        Raises:
            InputError: the image is not in the ground truth.
        """
        with contextlib.suppress(TypeError):  # an id that cannot be hashed is unknown too
            if image_id in self.image_numbers:
                return self.image_numbers[image_id]
        known = ", ".join(repr(key) for key in self.image_ids[:3])
        raise InputError(
            f"{place}: image id {image_id!r} is not among the {len(self.image_ids)} images of {self.source} "
            f"({known} …); evaluate against the annotations that the detections were made for"
        )


def read_ground_truth(
    annotations: str | Path | dict, iou_type: IouType, image_ids: Iterable[Any] | None = None
) -> GroundTruth:
    """Read the ground truth from a COCO annotation file, or from its content.

    The content is copied, never changed. What the file leaves out is filled in: ``iscrowd`` is 0, ``area`` that of the
    segmentation or else of the box, ``num_keypoints`` the keypoints with a visibility above 0, and a mask that some
    objects lack is their box (with a warning). Annotations of images or categories that the file does not list are left
    out, as pycocotools does; ids of annotations do not matter.

    Args:
        annotations: path of the JSON file, or the dict that it holds.
        iou_type: what will be compared; the annotations must hold it.
        image_ids: the images to evaluate; all of the file by default.

    Raises:
        InputError: the file is missing, is not COCO, or an annotation lacks what `iou_type` compares.
    """
    wanted = None if image_ids is None else [plain_id(key) for key in image_ids]
    if not isinstance(annotations, dict):
        file = well_formed.read_annotations(Path(annotations), iou_type)
        fast = None if file is None else _of_well_formed(file, str(annotations), iou_type, wanted)
        if fast is not None:
            return fast
    source, content = ("annotations", annotations) if isinstance(annotations, dict) else _read(Path(annotations))
    images = _restricted(_images(content, source), wanted, source)
    categories = _categories(content, source)
    ordered = sorted(images, key=_visiting_order)
    sizes = {
        key: (int(image["height"]), int(image["width"]))
        for key, image in images.items()
        if image.get("height") and image.get("width")
    }
    complete = list(_annotations(content, source, iou_type, _positions(ordered), _by_id(categories), sizes))
    return GroundTruth(source, categories, ordered, sizes, _packed(complete, iou_type, source))


def _of_well_formed(
    file: well_formed.AnnotationFile, source: str, iou_type: IouType, wanted: list | None
) -> GroundTruth | None:
    """The ground truth of a file in which every annotation is complete; None if that is not so after all."""
    images = _restricted({image.id: image for image in file.images}, wanted, source)
    ordered = sorted(images, key=_visiting_order)
    sizes = {key: (image.height, image.width) for key, image in images.items() if image.height and image.width}
    names = {category.id: category.name for category in file.categories}
    categories = [Category(key, name) for key, name in sorted(names.items())]
    numbers, positions = _positions(ordered), _by_id(categories)
    kept = [one for one in file.annotations if one.image_id in numbers and one.category_id in positions]
    masks = _well_formed_masks(kept, sizes) if iou_type == "segm" else None
    keypoints = _well_formed_keypoints(kept) if iou_type == "keypoints" else None
    if (iou_type == "segm" and masks is None) or (iou_type == "keypoints" and keypoints is None):
        return None
    objects = Objects(
        images=well_formed.column(kept, lambda one: numbers[one.image_id], np.int64),
        categories=well_formed.column(kept, lambda one: positions[one.category_id], np.int64),
        boxes=well_formed.table(kept, attrgetter("bbox"), 4),
        areas=well_formed.column(kept, attrgetter("area"), np.float64),
        iscrowd=well_formed.column(kept, attrgetter("iscrowd"), np.bool_),
        difficult=well_formed.column(kept, attrgetter("difficult"), np.bool_),
        masks=masks,
        keypoints=keypoints,
        num_keypoints=None if keypoints is None else well_formed.column(kept, attrgetter("num_keypoints"), np.int64),
    )
    return GroundTruth(source, categories, ordered, sizes, objects)


def _well_formed_masks(kept: list[well_formed.MaskAnnotation], sizes: dict) -> Masks | None:
    try:
        image_sizes = [sizes[one.image_id] for one in kept]
        is_polygon = [isinstance(one.segmentation, list) for one in kept]
        fill = _filled_polygons if ops_backend() != "reference" else _filled_one_by_one
        polygons = fill(
            [one.segmentation for one, polygon in zip(kept, is_polygon, strict=True) if polygon],
            [size for size, polygon in zip(image_sizes, is_polygon, strict=True) if polygon],
        )
        if all(is_polygon):
            return polygons
        next_polygon = iter(range(len(polygons)))
        return Masks.of(
            [
                polygons.encoded(next(next_polygon))
                if polygon
                else to_rle({"size": list(one.segmentation.size), "counts": one.segmentation.counts}, size)
                for one, size, polygon in zip(kept, image_sizes, is_polygon, strict=True)
            ]
        )
    except (KeyError, ValueError, RuntimeError):  # which the slow reader explains
        return None


def _filled_polygons(objects: list[list[list[float]]], sizes: list[tuple[int, int]]) -> Masks:
    """The masks of objects, each of one or more polygons; a ValueError if one is none."""
    polygons = list(itertools.chain.from_iterable(objects))
    lengths = np.array([len(polygon) for polygon in polygons], dtype=np.int64)
    if not all(objects) or (lengths < 6).any() or (lengths % 2).any():
        raise ValueError
    coordinates = np.fromiter(itertools.chain.from_iterable(polygons), np.float64, lengths.sum())
    image_sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    arrays = (coordinates, _offsets(lengths // 2), _offsets([len(one) for one in objects]), image_sizes)
    runs = torch.ops.detkit.polygons_to_runs(*map(torch.from_numpy, arrays))
    characters, offsets = torch.ops.detkit.runs_to_strings(*runs)
    return Masks(characters.numpy(), offsets.numpy(), image_sizes)


def _filled_one_by_one(objects: list[list[list[float]]], sizes: list[tuple[int, int]]) -> Masks:
    return Masks.of([to_rle(one, size) for one, size in zip(objects, sizes, strict=True)])


def _offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _well_formed_keypoints(kept: list[well_formed.KeypointAnnotation]) -> np.ndarray | None:
    lengths = {len(one.keypoints) for one in kept}
    if len(lengths) != 1 or any(one.num_keypoints < 0 for one in kept):
        return None
    (length,) = lengths
    return None if length % 3 else well_formed.table(kept, attrgetter("keypoints"), length).reshape(len(kept), -1, 3)


def _positions(keys: Sequence[Any]) -> dict[Any, int]:
    return {key: position for position, key in enumerate(keys)}


def _by_id(categories: Sequence[Category]) -> dict[int, int]:
    return _positions([category.id for category in categories])


def _packed(complete: list[dict], iou_type: IouType, source: str) -> Objects:
    """Annotations, each of them complete, as arrays."""
    keypoints = _packed_keypoints(complete, source) if iou_type == "keypoints" else None
    return Objects(
        images=np.array([one["image"] for one in complete], dtype=np.int64),
        categories=np.array([one["category"] for one in complete], dtype=np.int64),
        boxes=np.array([one["bbox"] for one in complete], dtype=np.float64).reshape(-1, 4),
        areas=np.array([one["area"] for one in complete], dtype=np.float64),
        iscrowd=np.array([one["iscrowd"] for one in complete], dtype=np.bool_),
        difficult=np.array([one["difficult"] for one in complete], dtype=np.bool_),
        masks=Masks.of([one["segmentation"] for one in complete]) if iou_type == "segm" else None,
        keypoints=keypoints,
        num_keypoints=None
        if keypoints is None
        else np.array([one["num_keypoints"] for one in complete], dtype=np.int64),
    )


def _packed_keypoints(complete: list[dict], source: str) -> np.ndarray:
    """``(N, J, 3)``, zeros for an object without keypoints."""
    lengths = sorted({len(one["keypoints"]) for one in complete} - {0})
    if len(lengths) > 1:
        raise InputError(
            f"{source}: some objects have {lengths[0] // 3} keypoints and some {lengths[-1] // 3}; "
            "evaluate categories with different keypoints by themselves"
        )
    width = lengths[0] if lengths else 0
    rows = [one["keypoints"] or [0] * width for one in complete]
    return np.array(rows, dtype=np.float64).reshape(len(complete), width // 3, 3)


def plain_id(image_id: Any) -> Any:
    """An image id as Python's own type: a tensor's or an array's element becomes the number that it holds."""
    return image_id.item() if hasattr(image_id, "item") else image_id


def to_rle(segmentation: Any, size: tuple[int, int] | None) -> dict:
    """Any of COCO's three forms of a mask (polygons, run lengths, compressed run lengths) as the last of them.

    Args:
        segmentation: the mask as the file has it.
        size: ``(height, width)`` of its image, where known.

    Raises:
        ValueError: it is none of them, is not of the size of the image, or holds polygons while that is unknown.
    """
    try:
        mask = _encoded(segmentation, size)
        if size is not None and list(mask["size"]) != list(size):
            raise ValueError(f"its size {list(mask['size'])} is not the image's {list(size)} (height, width)")
        RunLengths.from_coco([mask])  # reads it
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"it is none of COCO's forms of a mask ({type(error).__name__}: {error})") from None
    except Exception as error:  # pycocotools raises bare exceptions
        raise ValueError(str(error)) from None
    return mask


def _encoded(segmentation: Any, size: tuple[int, int] | None) -> dict:
    if isinstance(segmentation, dict):
        is_compressed = isinstance(segmentation["counts"], (str, bytes))
        return segmentation if is_compressed else rle_masks.frPyObjects(segmentation, *segmentation["size"])
    if not isinstance(segmentation, list) or not segmentation:
        raise TypeError("neither polygons nor run lengths")
    if size is None:
        raise ValueError("its polygons need the height and width of the image, which the file does not tell")
    return rle_masks.merge(rle_masks.frPyObjects(segmentation, *size))


def are_finite_numbers(values: Any, count: int) -> bool:
    """Whether `values` is a list of `count` finite numbers."""
    return (
        isinstance(values, Sequence)
        and len(values) == count
        and all(isinstance(value, Real) and math.isfinite(value) for value in values)
    )


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it is not there, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a COCO JSON file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of a COCO JSON file in it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON ({error}); give a file in COCO's format") from None


def _read(path: Path) -> tuple[str, dict]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a JSON {type(content).__name__}, not COCO annotations; "
            "give the file with the keys images, annotations and categories"
        )
    return str(path), content


def _entries(content: dict, key: str, source: str, needed: tuple[str, ...]) -> list[dict]:
    """The list under `key`, each entry of which has the `needed` keys."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{source} has no list {key!r}, which COCO annotations must have to be evaluated against")
    for index, entry in enumerate(entries):
        missing = [name for name in needed if not isinstance(entry, dict) or entry.get(name) is None]
        if missing:
            raise InputError(f"{source}: {key}[{index}] has no {missing[0]!r}; add it to the file")
    return entries


def _images(content: dict, source: str) -> dict[Any, dict]:
    return {image["id"]: image for image in _entries(content, "images", source, ("id",))}


def _restricted(images: dict[Any, Any], image_ids: list[Any] | None, source: str) -> dict[Any, Any]:
    if image_ids is None:
        return images
    unknown = [key for key in image_ids if key not in images]
    if unknown:
        raise InputError(f"image_ids: {unknown[0]!r} is not an image of {source}; leave it out or correct it")
    return {key: images[key] for key in image_ids}


def _categories(content: dict, source: str) -> list[Category]:
    entries = {entry["id"]: entry for entry in _entries(content, "categories", source, ("id",))}
    return [Category(key, str(entry.get("name", key))) for key, entry in sorted(entries.items())]


def _visiting_order(image_id: Any) -> tuple[bool, Any]:
    """Numbers by value, then strings by letters: the order decides between equal scores of different images."""
    return isinstance(image_id, str), image_id


def _annotations(
    content: dict, source: str, iou_type: IouType, numbers: dict, positions: dict, sizes: dict
) -> Iterator[dict]:
    """The annotations to evaluate against, complete."""
    listed = _entries(content, "annotations", source, ("image_id", "category_id"))
    kept = [entry for entry in listed if entry["image_id"] in numbers and entry["category_id"] in positions]
    if iou_type == "segm":
        _warn_of_boxes_for_masks(kept, source)
    for number, entry in enumerate(kept, start=1):
        place = f"{source}: annotation {entry.get('id', number)} of image {entry['image_id']!r}"
        complete = _completed(entry, iou_type, sizes.get(entry["image_id"]), place)
        yield {
            "image": numbers[entry["image_id"]],
            "category": positions[entry["category_id"]],
            "iscrowd": bool(entry.get("iscrowd", 0)),
            "difficult": bool(entry.get("difficult", 0)),
            **complete,
        }


def _warn_of_boxes_for_masks(entries: list[dict], source: str) -> None:
    without = sum(not entry.get("segmentation") for entry in entries)
    if without and without == len(entries):
        raise InputError(f"{source} has no segmentations, so masks cannot be evaluated; evaluate boxes (iou_type bbox)")
    if without:
        logger.warning(
            "%s: %d of %d objects have no segmentation; the box is their mask", source, without, len(entries)
        )


def _completed(entry: dict, iou_type: IouType, size: tuple[int, int] | None, place: str) -> dict:
    """The geometry of one annotation: box, area, and what `iou_type` compares."""
    complete = {}
    box, area, segmentation = entry.get("bbox"), entry.get("area"), entry.get("segmentation")
    if iou_type == "segm" and not segmentation and are_finite_numbers(box, 4):
        segmentation = _filled(*box)
    if iou_type == "segm" or (segmentation and (not box or (area is None and size is not None))):
        try:
            segmentation = to_rle(segmentation, size)
        except ValueError as error:
            raise InputError(f"{place} has no usable segmentation: {error}; correct it") from None
        box = box or rle_masks.toBbox(segmentation).tolist()
        area = float(rle_masks.area(segmentation)) if area is None else area
        complete["segmentation"] = segmentation
    if iou_type == "keypoints":
        complete |= _keypoints(entry, place)
    if not are_finite_numbers(box, 4):
        raise InputError(f"{place} has the bbox {box!r}; COCO's is [x, y, width, height] in pixels")
    area = float(box[2] * box[3]) if area is None else area
    if not are_finite_numbers([area], 1):
        raise InputError(f"{place} has the area {area!r}; give a number of square pixels or leave it out")
    return complete | {"bbox": box, "area": area}


def _keypoints(entry: dict, place: str) -> dict:
    """Keypoints and their number; an annotation without any is one that evaluation ignores."""
    keypoints = entry.get("keypoints") or []
    if not are_finite_numbers(keypoints, len(keypoints)) or len(keypoints) % 3:
        raise InputError(f"{place} has keypoints that are not a flat list of x, y, visibility; correct them")
    visible = sum(visibility > 0 for visibility in keypoints[2::3])
    return {"keypoints": keypoints, "num_keypoints": entry.get("num_keypoints", visible)}


def _filled(x: float, y: float, width: float, height: float) -> list[list[float]]:
    """A box as polygons."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]
