"""The operations of detection that torch does not have: each with a native kernel and a plain-torch reference.

The native kernels (`csrc/`) are built when detkit is installed; `backend()` tells whether they are in use.
"""

from detkit.ops.iou import box_iou
from detkit.ops.library import backend
from detkit.ops.nms import batched_nms, nms
from detkit.ops.roi_align import multilevel_roi_align, roi_align

__all__ = ["backend", "batched_nms", "box_iou", "multilevel_roi_align", "nms", "roi_align"]
