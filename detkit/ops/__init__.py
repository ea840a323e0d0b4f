"""The operations of detection that torch lacks, each with a native kernel and a plain-torch reference.

The native kernels (`csrc/`) are built when detkit is installed; `backend()` tells whether they are in use.
"""

from detkit.ops.best_overlaps import best_overlaps
from detkit.ops.iou import box_iou
from detkit.ops.library import backend
from detkit.ops.maps.label_confusion import label_confusion
from detkit.ops.maps.label_pairs import label_pairs
from detkit.ops.masks import RunLengths, mask_iou, masks_to_rle, polygons_to_rle, rle_to_masks
from detkit.ops.meshes.cubify import PackedMeshes, cubify
from detkit.ops.meshes.graph_conv import GraphConv, mesh_edges
from detkit.ops.meshes.mesh_losses import chamfer_and_normal_losses, edge_length_loss
from detkit.ops.meshes.nearest_neighbors import NearestNeighbors, nearest_neighbors
from detkit.ops.meshes.sample_points import SurfacePoints, sample_points
from detkit.ops.meshes.vert_align import vert_align
from detkit.ops.nms import batched_nms, batched_nms_padded, nms, nms_padded
from detkit.ops.paste_masks import batched_paste_masks, batched_paste_masks_to_rle, paste_masks, paste_masks_to_rle
from detkit.ops.roi_align import multilevel_roi_align, roi_align
from detkit.ops.roi_pool import roi_pool
from detkit.ops.soft_nms import soft_nms
from detkit.ops.tracing import is_exporting

__all__ = [
    "GraphConv",
    "NearestNeighbors",
    "PackedMeshes",
    "RunLengths",
    "SurfacePoints",
    "backend",
    "batched_nms",
    "batched_nms_padded",
    "batched_paste_masks",
    "batched_paste_masks_to_rle",
    "best_overlaps",
    "box_iou",
    "chamfer_and_normal_losses",
    "cubify",
    "edge_length_loss",
    "is_exporting",
    "label_confusion",
    "label_pairs",
    "mask_iou",
    "masks_to_rle",
    "mesh_edges",
    "multilevel_roi_align",
    "nearest_neighbors",
    "nms",
    "nms_padded",
    "paste_masks",
    "paste_masks_to_rle",
    "polygons_to_rle",
    "rle_to_masks",
    "roi_align",
    "roi_pool",
    "sample_points",
    "soft_nms",
    "vert_align",
]
