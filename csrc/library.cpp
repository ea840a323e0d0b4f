// Every operation of detkit, as the dispatcher knows it. The kernels register themselves from cpu/ and cuda/;
// shapes are documented in the header of the same name as the operation.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(detkit, m) {
  m.def("nms(Tensor boxes, Tensor scores, Tensor? labels, float iou_threshold) -> Tensor");

  m.def("box_iou(Tensor boxes1, Tensor boxes2, str mode) -> Tensor");
  m.def("box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, str mode) -> (Tensor, Tensor)");

  m.def(
      "roi_align(Tensor[] features, Tensor rois, Tensor levels, float[] spatial_scales, int height, int width, "
      "int sampling_ratio, bool aligned, bool channels_last) -> Tensor");
  m.def(
      "roi_align_backward(Tensor gradient, Tensor rois, Tensor levels, float[] spatial_scales, SymInt batch, "
      "SymInt[] heights, SymInt[] widths, int sampling_ratio, bool aligned, bool channels_last) -> Tensor[]");
}
