"""What is out of the ordinary in an annotation file: what the careful reader must judge, and what users should know."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from detkit.coco_files.entry_lists import LARGEST, are_plain_ids, is_plain_text
from detkit.coco_files.listed_images import wrong_sizes
from detkit.evaluation.files.json_columns import Columns, Keys
from detkit.ops.masks import LARGEST_COORDINATE

logger = logging.getLogger(__name__)


def are_ordinary(lists: Mapping[str, Columns]) -> bool:
    """Whether nothing is wrong, missing or unusual in the lists of a file: what is, `detkit.coco_files` judges.

    Args:
        lists: the columns of images, categories and annotations.
    """
    images, categories, annotations = lists["images"], lists["categories"], lists["annotations"]
    image_ids, category_ids = images.keys_of("id").as_list(), categories.keys_of("id").as_list()
    return (
        _are_unique_ids(image_ids)
        and _are_unique_ids(category_ids)
        and all(isinstance(one, int) for one in category_ids)
        and _are_names(categories.keys_of("name").values)
        and _are_known(annotations.keys_of("image_id"), image_ids)
        and _are_known(annotations.keys_of("category_id"), category_ids)
        and all(_are_below(np.nan_to_num(images.numbers(name)), LARGEST) for name in ("height", "width"))
        and len(wrong_sizes(np.stack((images.numbers("height"), images.numbers("width")), axis=1))) == 0
        and _are_distinct(annotations.numbers("id"))
        and all(_are_flags(annotations.numbers(name)) for name in ("iscrowd", "ignore", "difficult"))
        and _are_flags(categories.numbers("isthing"))
        and _are_boxes(annotations)
        and _are_fillable(annotations)
        and _are_keypoints(annotations)
    )


def _are_unique_ids(ids: list[Any]) -> bool:
    return len(ids) > 0 and are_plain_ids(ids) and len(set(ids)) == len(ids)


def _are_names(names: list[Any]) -> bool:
    return all(is_plain_text(name) if isinstance(name, str) else type(name) is int for name in names)


def _are_known(keys: Keys, ids: list[Any]) -> bool:
    return are_plain_ids(keys.values) and set(ids).issuperset(keys.values)


def _are_distinct(ids: np.ndarray) -> bool:
    """Whether the ids of annotations, if they have any, are whole numbers that a double holds, none of them twice."""
    if np.isnan(ids).all():
        return True
    ordered = ids if (ids[1:] > ids[:-1]).all() else np.sort(ids)
    are_distinct = (ordered[1:] > ordered[:-1]).all() and ordered[0] > -(2**53) and ordered[-1] < 2**53
    return bool(are_distinct and (ids == np.floor(ids)).all())


def _are_flags(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == 1) | np.isnan(values)).all())


def _are_boxes(annotations: Columns) -> bool:
    boxes, areas = annotations.rows("bbox"), annotations.numbers("area")
    if (boxes.lengths != 4).any() or not ((areas >= 0) & (areas <= LARGEST)).all():
        return False
    return _are_below(boxes.values, LARGEST) and bool((boxes.table(4)[:, 2:] >= 0).all())


def _are_fillable(annotations: Columns) -> bool:
    """Whether the corners of polygons, where they are read, are of a size that can be filled."""
    if "segmentation" not in annotations:
        return True
    return _are_below(annotations.masks("segmentation").corners, LARGEST_COORDINATE)


def _are_keypoints(annotations: Columns) -> bool:
    if "keypoints" not in annotations:
        return True
    values, counts = annotations.rows("keypoints").values, annotations.numbers("num_keypoints")
    return _are_below(values, LARGEST) and _are_below(np.nan_to_num(counts), LARGEST)


def _are_below(values: np.ndarray, limit: float) -> bool:
    return bool(values.max(initial=0) <= limit and values.min(initial=0) >= -limit)


def warn_of_oddities(source: str, ignored: int) -> None:
    """Say what makes an evaluation other than its reader may expect.

    Args:
        source: the path of the file.
        ignored: the number of its annotations with ``ignore``.
    """
    if ignored:
        logger.warning(
            "%s: %d objects have 'ignore' set; they need not be detected, like crowds and as in training, but "
            "pycocotools would evaluate those without 'iscrowd' as objects", source, ignored,
        )  # fmt: skip
