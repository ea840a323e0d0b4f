"""Masks in COCO's run-length encoding: encoding, decoding, filling polygons, areas, boxes and IoU."""

from detkit.ops.masks.mask_iou import mask_iou, run_iou_reference
from detkit.ops.masks.polygons import LARGEST_COORDINATE, polygons_to_rle, polygons_to_runs_reference
from detkit.ops.masks.rle import masks_to_rle, masks_to_runs_reference, rle_to_masks, runs_to_masks_reference
from detkit.ops.masks.rle_strings import compress_counts, runs_to_strings_reference, strings_to_runs_reference
from detkit.ops.masks.run_lengths import RunLengths, checked_mask_size, run_areas_reference, run_boxes_reference

__all__ = [
    "LARGEST_COORDINATE",
    "RunLengths",
    "checked_mask_size",
    "compress_counts",
    "mask_iou",
    "masks_to_rle",
    "masks_to_runs_reference",
    "polygons_to_rle",
    "polygons_to_runs_reference",
    "rle_to_masks",
    "run_areas_reference",
    "run_boxes_reference",
    "run_iou_reference",
    "runs_to_masks_reference",
    "runs_to_strings_reference",
    "strings_to_runs_reference",
]
