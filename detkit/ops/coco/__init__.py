"""The ops of COCO's evaluation: matching, accumulating, measuring and filling masks, reading columns of JSON files."""

from detkit.ops.coco.accumulating import accumulate
from detkit.ops.coco.coco_matching import Compared, StringMasks, match_boxes, match_keypoints, match_masks
from detkit.ops.coco.json_reader import read_json_columns
from detkit.ops.coco.mask_strings import fill_masks, measure_masks

__all__ = [
    "Compared",
    "StringMasks",
    "accumulate",
    "fill_masks",
    "match_boxes",
    "match_keypoints",
    "match_masks",
    "measure_masks",
    "read_json_columns",
]
