"""detkit's operations in ONNX's own operators, so that any runtime can run an exported detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detkit.heads.region.heat_maps import peaks_in_graph
from detkit.ops.library import native_operation
from detkit.ops.soft_nms import batched_soft_nms_padded


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The ``custom_translation_table`` of `torch.onnx.export`: a function on onnxscript's values for each operation.

    Raises:
        InputError: detkit's native library, whose operations they are, is not built.
    """
    # onnxscript is an extra.
    from detkit.exporting.onnx_ops import box_overlaps, box_suppression, peak_loop, region_crops, soft_suppression

    functions: dict[str, Callable[..., Any]] = {
        "nms": box_suppression.nms,
        "nms_padded": box_suppression.nms_padded,
        "batched_nms_padded": box_suppression.batched_nms_padded,
        "box_iou": box_overlaps.box_iou,
        "roi_align": region_crops.roi_align,
        "roi_pool": region_crops.roi_pool,
    }
    table = {native_operation(name): function for name, function in functions.items()}
    return table | {
        peaks_in_graph._opoverload: peak_loop.heat_map_peaks,
        batched_soft_nms_padded._opoverload: soft_suppression.batched_soft_nms_padded,
    }
