// Which detections find an object by their keypoints; see ../coco.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "coco_matching.h"

namespace detkit::coco {
namespace {

// Added up as numpy adds up few numbers: eight sums side by side, then those in pairs.
double sum_as_numpy(const std::vector<double>& values) {
  size_t count = values.size(), whole = count / 8 * 8;
  double total = 0;
  if (count >= 8) {
    double part[8];
    std::copy(values.begin(), values.begin() + 8, part);
    for (size_t i = 8; i < whole; ++i) part[i % 8] += values[i];
    total = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  } else {
    whole = 0;
  }
  for (size_t i = whole; i < count; ++i) total += values[i];
  return total;
}

// Object keypoint similarity: the mean over the labeled keypoints of exp(-distance^2 / (2 area (2 sigma)^2)). With
// none labeled, the distance is that of each keypoint from the object's box, enlarged by its own size to every side.
class KeypointSimilarity {
 public:
  // Similarities below `lowest` need not be told apart, and are 0.
  KeypointSimilarity(const double* sigmas, int64_t count, double lowest)
      : sigmas_(sigmas), count_(count), lowest_(lowest) {}

  double operator()(const double* keypoints, const double* object, const double* box, double area) {
    int64_t labeled = 0;
    for (int64_t j = 0; j < count_; ++j) labeled += object[3 * j + 2] > 0;
    const int64_t term_count = labeled > 0 ? labeled : count_;
    constexpr double rounding = 1e-6;
    double most = static_cast<double>(term_count);  // that the sum can be
    const double enough = lowest_ * most - rounding;
    terms_.clear();
    for (int64_t j = 0; j < count_; ++j) {
      const double *point = keypoints + 3 * j, *other = object + 3 * j;
      if (labeled > 0 && !(other[2] > 0)) continue;
      double dx, dy;
      if (labeled > 0) {
        dx = point[0] - other[0];
        dy = point[1] - other[1];
      } else {
        dx = beyond(point[0], box[0], box[2]);
        dy = beyond(point[1], box[1], box[3]);
      }
      double variance = (sigmas_[j] * 2) * (sigmas_[j] * 2);
      double exponent = (dx * dx + dy * dy) / variance / (area + std::numeric_limits<double>::epsilon()) / 2;
      terms_.push_back(std::exp(-exponent));
      most -= 1 - terms_.back();
      if (most < enough) return 0;
    }
    return sum_as_numpy(terms_) / static_cast<double>(terms_.size());
  }

 private:
  static double beyond(double at, double from, double length) {
    return std::fmax(0.0, (from - length) - at) + std::fmax(0.0, at - (from + length * 2));
  }

  const double* sigmas_;
  int64_t count_;
  double lowest_;
  std::vector<double> terms_;
};

Result match_keypoints(
    Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges,
    int64_t max_detections, Tensor keypoints, Tensor object_keypoints, Tensor object_boxes, Tensor sigmas) {
  Problem problem(
      scores, images, categories, areas, object_images, object_categories, object_areas, object_crowd, object_ignored,
      thresholds, area_ranges, max_detections);
  keypoints = torch::stable::contiguous(keypoints);
  object_keypoints = torch::stable::contiguous(object_keypoints);
  object_boxes = torch::stable::contiguous(object_boxes);
  sigmas = torch::stable::contiguous(sigmas);
  const double *data = keypoints.const_data_ptr<double>(), *object_data = object_keypoints.const_data_ptr<double>();
  const double *boxes = object_boxes.const_data_ptr<double>(), *spread = sigmas.const_data_ptr<double>();
  const double* object_area = problem.object_areas.const_data_ptr<double>();
  int64_t joints = sigmas.size(0);
  STD_TORCH_CHECK(
      keypoints.numel() == 3 * joints * problem.detection_count() &&
          object_keypoints.numel() == 3 * joints * problem.object_count() &&
          object_boxes.numel() == 4 * problem.object_count(),
      "coco_match: each detection and object must have ", joints, " keypoints, and each object a box");
  double lowest = problem.lowest_threshold();
  return match(problem, [=] {
    return [=, similarity = KeypointSimilarity(spread, joints, lowest)](
               const Scene& scene, std::vector<double>& similarities) mutable {
      double* next = similarities.data();
      for (int64_t d = 0; d < scene.detection_count; ++d) {
        for (int64_t g = 0; g < scene.object_count; ++g) {
          int64_t object = scene.objects[g];
          *next++ = similarity(
              data + 3 * joints * scene.detections[d], object_data + 3 * joints * object, boxes + 4 * object,
              object_area[object]);
        }
      }
    };
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("coco_match_keypoints", TORCH_BOX(&match_keypoints));
}

}  // namespace detkit::coco
