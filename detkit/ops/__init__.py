"""The operations of detection that torch lacks, each with a native kernel and a plain-torch reference.

The native kernels (`csrc/`) are built when detkit is installed; `backend()` tells whether they are in use.
"""

from detkit.ops.best_overlaps import best_overlaps
from detkit.ops.iou import box_iou
from detkit.ops.library import backend
from detkit.ops.maps.label_confusion import label_confusion
from detkit.ops.maps.label_pairs import label_pairs
from detkit.ops.masks import RunLengths, mask_iou, masks_to_rle, polygons_to_rle, rle_to_masks
from detkit.ops.nms import batched_nms, batched_nms_padded, nms, nms_padded
from detkit.ops.paste_masks import batched_paste_masks, batched_paste_masks_to_rle, paste_masks, paste_masks_to_rle
from detkit.ops.roi_align import multilevel_roi_align, roi_align
from detkit.ops.roi_pool import roi_pool
from detkit.ops.soft_nms import soft_nms
from detkit.ops.tracing import is_exporting

__all__ = [
    "RunLengths",
    "backend",
    "batched_nms",
    "batched_nms_padded",
    "batched_paste_masks",
    "batched_paste_masks_to_rle",
    "best_overlaps",
    "box_iou",
    "is_exporting",
    "label_confusion",
    "label_pairs",
    "mask_iou",
    "masks_to_rle",
    "multilevel_roi_align",
    "nms",
    "nms_padded",
    "paste_masks",
    "paste_masks_to_rle",
    "polygons_to_rle",
    "rle_to_masks",
    "roi_align",
    "roi_pool",
    "soft_nms",
]
