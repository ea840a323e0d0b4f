"""COCO annotation files, checked: what training and evaluation both read, with the same values and messages."""

from detkit.coco_files.category_id_maps import labels_of_ids
from detkit.coco_files.coco_content import check_coco_content, read_coco_file
from detkit.coco_files.entry_lists import EntryList
from detkit.coco_files.keypoint_lists import read_keypoints, stated_numbers_of_keypoints
from detkit.coco_files.listed_categories import read_listed_categories
from detkit.coco_files.listed_images import ListedImages, read_images
from detkit.coco_files.listed_objects import ListedObjects, read_objects
from detkit.coco_files.panoptic_segments import (
    PanopticImage,
    Segment,
    colors_to_ids,
    ids_to_colors,
    is_panoptic,
    panoptic_images,
    read_panoptic_file,
    segment_entries,
)
from detkit.coco_files.segmentations import EncodedMasks, encode_masks, read_segmentations

__all__ = [
    "EncodedMasks",
    "EntryList",
    "ListedImages",
    "ListedObjects",
    "PanopticImage",
    "Segment",
    "check_coco_content",
    "colors_to_ids",
    "encode_masks",
    "ids_to_colors",
    "is_panoptic",
    "labels_of_ids",
    "panoptic_images",
    "read_coco_file",
    "read_images",
    "read_keypoints",
    "read_listed_categories",
    "read_objects",
    "read_panoptic_file",
    "read_segmentations",
    "segment_entries",
    "stated_numbers_of_keypoints",
]
