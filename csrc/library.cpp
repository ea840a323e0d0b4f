// Every operation of detkit, as the dispatcher knows it. The kernels register themselves from cpu/ and cuda/;
// shapes are documented in the header of the same name as the operation.
#include <torch/csrc/stable/library.h>

#include <string>

STABLE_TORCH_LIBRARY(detkit, m) {
  m.def("nms(Tensor boxes, Tensor scores, Tensor? labels, float iou_threshold) -> Tensor");
  m.def(
      "nms_padded(Tensor boxes, Tensor scores, Tensor? labels, float iou_threshold, SymInt count) "
      "-> (Tensor, Tensor)");
  m.def(
      "batched_nms_padded(Tensor boxes, Tensor scores, Tensor image_index, Tensor? labels, float iou_threshold, "
      "SymInt images, SymInt count) -> (Tensor, Tensor)");
  m.def(
      "soft_nms(Tensor boxes, Tensor scores, Tensor? labels, float iou_threshold, float sigma, str method, "
      "float score_threshold) -> (Tensor, Tensor)");

  m.def("box_iou(Tensor boxes1, Tensor boxes2, str mode) -> Tensor");
  m.def("box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, str mode) -> (Tensor, Tensor)");
  m.def(
      "best_overlaps(Tensor candidates, Tensor? images, Tensor boxes, Tensor bounds, str measure, bool of_objects) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor)");

  m.def(
      "roi_align(Tensor[] features, Tensor rois, float[] spatial_scales, float canonical_size, int canonical_level, "
      "int height, int width, int sampling_ratio, bool aligned, bool channels_last) -> Tensor");
  m.def(
      "roi_align_backward(Tensor gradient, Tensor rois, float[] spatial_scales, float canonical_size, "
      "int canonical_level, SymInt batch, SymInt[] heights, SymInt[] widths, int sampling_ratio, bool aligned, "
      "bool channels_last) -> Tensor[]");

  m.def("masks_to_runs(Tensor masks) -> (Tensor, Tensor)");
  m.def("runs_to_masks(Tensor counts, Tensor offsets, SymInt height, SymInt width) -> Tensor");
  m.def("runs_to_strings(Tensor counts, Tensor offsets) -> (Tensor, Tensor)");
  m.def("strings_to_runs(Tensor characters, Tensor offsets, int height, int width) -> (Tensor, Tensor)");
  m.def(
      "polygons_to_runs(Tensor coordinates, Tensor polygon_offsets, Tensor object_offsets, Tensor sizes) "
      "-> (Tensor, Tensor)");
  m.def("run_areas(Tensor counts, Tensor offsets) -> Tensor");
  m.def("run_boxes(Tensor counts, Tensor offsets, int height, int width) -> Tensor");
  m.def(
      "run_iou(Tensor counts1, Tensor offsets1, Tensor counts2, Tensor offsets2, int height, int width, "
      "Tensor iscrowd) -> Tensor");

  m.def(
      "paste_masks(Tensor masks, Tensor boxes, SymInt[] counts, SymInt[] heights, SymInt[] widths, float threshold, "
      "bool fused, bool fused_places=True) -> Tensor");
  m.def(
      "paste_masks_to_runs(Tensor masks, Tensor boxes, SymInt[] counts, SymInt[] heights, SymInt[] widths, "
      "float threshold, bool fused, bool fused_places=True) -> (Tensor, Tensor)");

  const std::string match =
      "(Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, "
      "Tensor object_categories, Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, "
      "Tensor area_ranges, int max_detections, ";
  const std::string matches = ") -> (Tensor, Tensor, Tensor)";
  m.def(("coco_match_boxes" + match + "Tensor boxes, Tensor object_boxes" + matches).c_str());
  m.def(("coco_match_masks" + match +
         "Tensor strings, Tensor offsets, Tensor sizes, Tensor pixels, Tensor boxes, Tensor object_strings, "
         "Tensor object_offsets, Tensor object_sizes, Tensor object_pixels, Tensor object_boxes" +
         matches)
            .c_str());
  m.def("coco_measure_masks(Tensor strings, Tensor offsets, Tensor sizes) -> (Tensor, Tensor, Tensor)");
  m.def(
      "coco_fill_masks(Tensor corners, Tensor polygons, Tensor objects, Tensor characters, Tensor strings, "
      "Tensor sizes) -> (Tensor, Tensor)");
  m.def(("coco_match_keypoints" + match +
         "Tensor keypoints, Tensor object_keypoints, Tensor object_boxes, Tensor sigmas" + matches)
            .c_str());
  m.def(
      "coco_accumulate(Tensor scores, Tensor images, Tensor categories, Tensor order, Tensor matched, "
      "Tensor ignored, Tensor objects, Tensor recall_thresholds, int[] max_detections, int threshold_count, "
      "Tensor? image_weights) -> (Tensor, Tensor, Tensor)");

  m.def("read_json_columns(Tensor text, str[] lists, str[] keys, str[] kinds) -> Tensor[]");

  m.def(
      "roi_pool(Tensor features, Tensor rois, float spatial_scale, int height, int width, bool channels_last) "
      "-> (Tensor, Tensor)");
  m.def(
      "roi_pool_backward(Tensor gradient, Tensor cells, Tensor rois, SymInt batch, SymInt map_height, "
      "SymInt map_width, bool channels_last) -> Tensor");

  m.def("label_confusion(Tensor truth, Tensor answer, int rows, int columns) -> Tensor");
  m.def("label_pairs(Tensor first, Tensor second) -> (Tensor, Tensor)");

  m.def("nearest_neighbors(Tensor queries, Tensor points, Tensor point_counts) -> Tensor");

  m.def("to_planes(Tensor image, bool flip_x, bool flip_y) -> Tensor");
  m.def("graph_segmentation(Tensor image, float scale, int min_size) -> Tensor");
  m.def(
      "hierarchical_grouping(Tensor labels, Tensor color, Tensor texture, int color_bins, int texture_bins, "
      "int[] similarities) -> Tensor");
}
