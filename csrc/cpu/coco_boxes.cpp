// Which detections find an object by their boxes; see ../coco.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <vector>

#include "coco_matching.h"

namespace detkit::coco {
namespace {

// Intersection over union of boxes x y width height; with a crowd, over the detection's own area.
double box_similarity(const double* a, const double* b, bool with_crowd) {
  double width = std::fmin(a[0] + a[2], b[0] + b[2]) - std::fmax(a[0], b[0]);
  double height = std::fmin(a[1] + a[3], b[1] + b[3]) - std::fmax(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  double common = width * height, own = a[2] * a[3];
  return common / (with_crowd ? own : own + b[2] * b[3] - common);
}

Result match_boxes(
    Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges,
    int64_t max_detections, Tensor boxes, Tensor object_boxes) {
  Problem problem(
      scores, images, categories, areas, object_images, object_categories, object_areas, object_crowd, object_ignored,
      thresholds, area_ranges, max_detections);
  boxes = torch::stable::contiguous(boxes);
  object_boxes = torch::stable::contiguous(object_boxes);
  STD_TORCH_CHECK(
      boxes.numel() == 4 * problem.detection_count() && object_boxes.numel() == 4 * problem.object_count(),
      "coco_match: each detection and object must have a box");
  const double *data = boxes.const_data_ptr<double>(), *object_data = object_boxes.const_data_ptr<double>();
  const bool* is_crowd = problem.object_crowd.const_data_ptr<bool>();
  return match(problem, [=] {
    return [=](const Scene& scene, std::vector<double>& similarities) {
      double* next = similarities.data();
      for (int64_t d = 0; d < scene.detection_count; ++d) {
        for (int64_t g = 0; g < scene.object_count; ++g) {
          int64_t object = scene.objects[g];
          *next++ = box_similarity(data + 4 * scene.detections[d], object_data + 4 * object, is_crowd[object]);
        }
      }
    };
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("coco_match_boxes", TORCH_BOX(&match_boxes));
}

}  // namespace detkit::coco
