// Which detections find an object, by COCO's rules; see ../coco.h. The similarities of one image and category are
// computed, used and forgotten, so that memory does not grow with the data set.
#include "../coco.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <tuple>

#include "../rle.h"

namespace detkit::coco {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// What every kind of evaluation is given.
struct Problem {
  Tensor scores, images, categories, areas, object_images, object_categories, object_areas;
  Tensor object_crowd, object_ignored;
  Tensor thresholds, area_ranges;
  int64_t max_detections;

  Problem(
      Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
      Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges, int64_t max_detections)
      : scores(torch::stable::contiguous(scores)),
        images(torch::stable::contiguous(images)),
        categories(torch::stable::contiguous(categories)),
        areas(torch::stable::contiguous(areas)),
        object_images(torch::stable::contiguous(object_images)),
        object_categories(torch::stable::contiguous(object_categories)),
        object_areas(torch::stable::contiguous(object_areas)),
        object_crowd(torch::stable::contiguous(object_crowd)),
        object_ignored(torch::stable::contiguous(object_ignored)),
        thresholds(torch::stable::contiguous(thresholds)),
        area_ranges(torch::stable::contiguous(area_ranges)),
        max_detections(max_detections) {
    STD_TORCH_CHECK(thresholds.size(0) <= 31, "coco_match: at most 31 thresholds, got ", thresholds.size(0));
  }
};

// An object that a detection is similar enough to, at one threshold at least.
struct Candidate {
  int32_t object;  // its place among those of the image and category
  double similarity;
};

// Detections and objects of one image and category; the detections best first.
struct Scene {
  const int64_t* detections;
  int64_t detection_count;
  const int64_t* objects;
  int64_t object_count;
};

// Goes through the detections of a scene, for all area ranges and thresholds.
class Matcher {
 public:
  explicit Matcher(const Problem& problem)
      : areas_(problem.areas.const_data_ptr<double>()),
        object_areas_(problem.object_areas.const_data_ptr<double>()),
        crowd_(problem.object_crowd.const_data_ptr<bool>()),
        ignored_(problem.object_ignored.const_data_ptr<bool>()),
        area_ranges_(problem.area_ranges.const_data_ptr<double>()),
        area_count_(problem.area_ranges.size(0)) {
    const double* thresholds = problem.thresholds.const_data_ptr<double>();
    for (int64_t t = 0; t < problem.thresholds.size(0); ++t) thresholds_.push_back(std::min(thresholds[t], 1 - 1e-10));
    lowest_ = *std::min_element(thresholds_.begin(), thresholds_.end());
  }

  // `similarities` is (detections, objects). Bits of detection d and area range a are written to out[a * stride + d].
  void match(
      const Scene& scene, const std::vector<double>& similarities, int64_t stride, int32_t* matched,
      int32_t* ignored) {
    collect_candidates(scene, similarities);
    for (int64_t a = 0; a < area_count_; ++a) {
      double smallest = area_ranges_[2 * a], largest = area_ranges_[2 * a + 1];
      auto is_outside = [&](double area) { return area < smallest || area > largest; };
      taken_.assign(scene.object_count, 0);
      counts_for_nothing_.resize(scene.object_count);
      for (int64_t g = 0; g < scene.object_count; ++g) {
        int64_t object = scene.objects[g];
        counts_for_nothing_[g] = ignored_[object] || is_outside(object_areas_[object]);
      }
      for (int64_t d = 0; d < scene.detection_count; ++d) {
        auto [found, nothing] = match_one(scene, d);
        if (is_outside(areas_[scene.detections[d]])) nothing |= ~found & ((int64_t(1) << thresholds_.size()) - 1);
        matched[a * stride + d] = found;
        ignored[a * stride + d] = nothing;
      }
    }
  }

 private:
  void collect_candidates(const Scene& scene, const std::vector<double>& similarities) {
    candidates_.clear();
    first_candidate_.assign(1, 0);
    for (int64_t d = 0; d < scene.detection_count; ++d) {
      for (int64_t g = 0; g < scene.object_count; ++g) {
        double similarity = similarities[d * scene.object_count + g];
        if (similarity >= lowest_) candidates_.push_back({int32_t(g), similarity});
      }
      first_candidate_.push_back(candidates_.size());
    }
  }

  // The thresholds at which detection d finds an object, and those at which the object counts for nothing.
  std::tuple<int32_t, int32_t> match_one(const Scene& scene, int64_t d) {
    if (first_candidate_[d] == first_candidate_[d + 1]) return {0, 0};
    int32_t found = 0, nothing = 0;
    for (size_t t = 0; t < thresholds_.size(); ++t) {
      // Only one that finds no object that counts may take one that does not.
      bool takes_nothing = false;
      int32_t best = best_object(scene, d, t, false);
      if (best < 0) {
        best = best_object(scene, d, t, true);
        takes_nothing = true;
      }
      if (best < 0) continue;
      found |= 1 << t;
      taken_[best] |= 1 << t;
      if (takes_nothing) nothing |= 1 << t;
    }
    return {found, nothing};
  }

  // The most similar object that is still to be had, of equally similar ones the last; -1 for none.
  int32_t best_object(const Scene& scene, int64_t d, size_t t, bool of_those_for_nothing) const {
    int32_t best = -1;
    double most = thresholds_[t];
    for (int64_t i = first_candidate_[d]; i < first_candidate_[d + 1]; ++i) {
      const Candidate& candidate = candidates_[i];
      if (candidate.similarity < most || counts_for_nothing_[candidate.object] != of_those_for_nothing) continue;
      if ((taken_[candidate.object] >> t & 1) && !crowd_[scene.objects[candidate.object]]) continue;
      best = candidate.object;
      most = candidate.similarity;
    }
    return best;
  }

  const double *areas_, *object_areas_;
  const bool *crowd_, *ignored_;
  const double* area_ranges_;
  int64_t area_count_;
  std::vector<double> thresholds_;
  double lowest_;
  std::vector<Candidate> candidates_;
  std::vector<int64_t> first_candidate_;
  std::vector<int32_t> taken_;  // bit t: the object is found at threshold t
  std::vector<uint8_t> counts_for_nothing_;
};

// The best detections of every image and category, as many as are looked at.
Grouping rank(const Problem& problem) {
  const double* scores = problem.scores.const_data_ptr<double>();
  Grouping all = group(
      problem.categories.const_data_ptr<int64_t>(), problem.images.const_data_ptr<int64_t>(), problem.scores.size(0));
  Grouping best;
  for (const Group& one : all.groups) {
    auto begin = all.order.begin() + one.begin, end = all.order.begin() + one.end;
    std::stable_sort(begin, end, [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    end = std::min(begin + problem.max_detections, end);
    int64_t first = best.order.size();
    best.order.insert(best.order.end(), begin, end);
    best.groups.push_back({one.category, one.image, first, static_cast<int64_t>(best.order.size())});
  }
  return best;
}

using Result = std::tuple<Tensor, Tensor, Tensor>;

// `make_compare` makes what fills a thread's similarities (detections, objects) of a scene.
template <typename MakeCompare>
Result match(const Problem& problem, MakeCompare&& make_compare) {
  Grouping ranked = rank(problem);
  Grouping objects = group(
      problem.object_categories.const_data_ptr<int64_t>(), problem.object_images.const_data_ptr<int64_t>(),
      problem.object_images.size(0));
  int64_t count = ranked.order.size(), area_count = problem.area_ranges.size(0);
  Tensor order = torch::stable::new_empty(problem.images, {count});
  std::copy(ranked.order.begin(), ranked.order.end(), order.mutable_data_ptr<int64_t>());
  Tensor matched = torch::stable::new_empty(problem.images, {area_count, count}, ScalarType::Int);
  Tensor ignored = torch::stable::empty_like(matched);
  int32_t *matched_data = matched.mutable_data_ptr<int32_t>(), *nothing_data = ignored.mutable_data_ptr<int32_t>();

  constexpr int64_t groups_per_task = 512;
  int64_t group_count = ranked.groups.size();
  torch::stable::parallel_for(0, group_count, groups_per_task, [&](int64_t first, int64_t last) {
    Matcher matcher(problem);
    auto compare = make_compare();
    std::vector<double> similarities;
    auto of_objects = std::lower_bound(
        objects.groups.begin(), objects.groups.end(), ranked.groups[first],
        [](const Group& a, const Group& b) { return a.precedes(b); });
    for (int64_t i = first; i < last; ++i) {
      const Group& here = ranked.groups[i];
      while (of_objects != objects.groups.end() && of_objects->precedes(here)) ++of_objects;
      Scene scene{&ranked.order[here.begin], here.end - here.begin, nullptr, 0};
      if (of_objects != objects.groups.end() && !here.precedes(*of_objects)) {
        scene.objects = &objects.order[of_objects->begin];
        scene.object_count = of_objects->end - of_objects->begin;
      }
      similarities.resize(scene.detection_count * scene.object_count);
      if (scene.object_count > 0) compare(scene, similarities);
      matcher.match(scene, similarities, count, matched_data + here.begin, nothing_data + here.begin);
    }
  });
  return {order, matched, ignored};
}

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
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges, int64_t max_detections,
    Tensor boxes, Tensor object_boxes) {
  Problem problem(
      scores, images, categories, areas, object_images, object_categories, object_areas, object_crowd, object_ignored,
      thresholds, area_ranges, max_detections);
  boxes = torch::stable::contiguous(boxes);
  object_boxes = torch::stable::contiguous(object_boxes);
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

// Compressed run lengths of N masks.
class Masks {
 public:
  Masks(const Tensor& strings, const Tensor& offsets, const Tensor& sizes)
      : strings_(torch::stable::contiguous(strings)),
        offsets_(torch::stable::contiguous(offsets)),
        sizes_(torch::stable::contiguous(sizes)) {}

  int64_t count() const { return sizes_.size(0); }

  RunLengths at(int64_t index) const {
    const int64_t *offsets = offsets_.const_data_ptr<int64_t>(), *size = sizes_.const_data_ptr<int64_t>() + 2 * index;
    const char* text = reinterpret_cast<const char*>(strings_.const_data_ptr<uint8_t>());
    std::string_view own(text + offsets[index], offsets[index + 1] - offsets[index]);
    return decompress(own, static_cast<uint32_t>(size[0]), static_cast<uint32_t>(size[1]));
  }

 private:
  Tensor strings_, offsets_, sizes_;
};

// Reads the masks of one scene, and compares them.
class MaskSimilarity {
 public:
  MaskSimilarity(const Masks& masks, const Masks& objects, const bool* crowd)
      : masks_(masks), objects_(objects), crowd_(crowd) {}

  void operator()(const Scene& scene, std::vector<double>& similarities) {
    read(masks_, scene.detections, scene.detection_count, read_masks_);
    read(objects_, scene.objects, scene.object_count, read_objects_);
    is_crowd_.resize(scene.object_count);
    for (int64_t g = 0; g < scene.object_count; ++g) is_crowd_[g] = crowd_[scene.objects[g]];
    std::vector<RunsView> views(read_masks_.begin(), read_masks_.end());
    std::vector<RunsView> object_views(read_objects_.begin(), read_objects_.end());
    mask_iou(views, object_views, is_crowd_.data(), similarities.data());
  }

 private:
  static void read(const Masks& masks, const int64_t* indices, int64_t count, std::vector<RunLengths>& result) {
    result.clear();
    for (int64_t i = 0; i < count; ++i) result.push_back(masks.at(indices[i]));
  }

  const Masks &masks_, &objects_;
  const bool* crowd_;
  std::vector<RunLengths> read_masks_, read_objects_;
  std::vector<uint8_t> is_crowd_;
};

Result match_masks(
    Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges,
    int64_t max_detections, Tensor strings, Tensor offsets, Tensor sizes, Tensor object_strings, Tensor object_offsets,
    Tensor object_sizes) {
  Problem problem(
      scores, images, categories, areas, object_images, object_categories, object_areas, object_crowd, object_ignored,
      thresholds, area_ranges, max_detections);
  Masks masks(strings, offsets, sizes), objects(object_strings, object_offsets, object_sizes);
  const bool* is_crowd = problem.object_crowd.const_data_ptr<bool>();
  return match(problem, [&, is_crowd] { return MaskSimilarity(masks, objects, is_crowd); });
}

// The pixels of each mask, and the box x y width height around them.
std::tuple<Tensor, Tensor> measure_masks(Tensor strings, Tensor offsets, Tensor sizes) {
  Masks masks(strings, offsets, sizes);
  int64_t count = masks.count();
  Tensor areas = torch::stable::new_empty(sizes, {count}, ScalarType::Double);
  Tensor boxes = torch::stable::new_empty(sizes, {count, 4}, ScalarType::Double);
  double *area_data = areas.mutable_data_ptr<double>(), *box_data = boxes.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, count, 1024, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      RunLengths mask = masks.at(i);
      PixelBox box = bounding_box(mask);
      area_data[i] = area(mask);
      const double values[] = {double(box.x), double(box.y), double(box.width), double(box.height)};
      std::copy(values, values + 4, box_data + 4 * i);
    }
  });
  return {areas, boxes};
}

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

// Object keypoint similarity: the mean over the labelled keypoints of exp(-distance^2 / (2 area (2 sigma)^2)). With none
// labelled, the distance is that of each keypoint from the object's box, enlarged by its own size to every side.
class KeypointSimilarity {
 public:
  KeypointSimilarity(const double* sigmas, int64_t count) : sigmas_(sigmas), count_(count) {}

  double operator()(const double* keypoints, const double* object, const double* box, double area) {
    int64_t labelled = 0;
    for (int64_t j = 0; j < count_; ++j) labelled += object[3 * j + 2] > 0;
    terms_.clear();
    for (int64_t j = 0; j < count_; ++j) {
      const double *point = keypoints + 3 * j, *other = object + 3 * j;
      if (labelled > 0 && !(other[2] > 0)) continue;
      double dx, dy;
      if (labelled > 0) {
        dx = point[0] - other[0];
        dy = point[1] - other[1];
      } else {
        dx = beyond(point[0], box[0], box[2]);
        dy = beyond(point[1], box[1], box[3]);
      }
      double variance = (sigmas_[j] * 2) * (sigmas_[j] * 2);
      double exponent = (dx * dx + dy * dy) / variance / (area + std::numeric_limits<double>::epsilon()) / 2;
      terms_.push_back(std::exp(-exponent));
    }
    return sum_as_numpy(terms_) / static_cast<double>(terms_.size());
  }

 private:
  static double beyond(double at, double from, double length) {
    return std::fmax(0.0, (from - length) - at) + std::fmax(0.0, at - (from + length * 2));
  }

  const double* sigmas_;
  int64_t count_;
  std::vector<double> terms_;
};

Result match_keypoints(
    Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges, int64_t max_detections,
    Tensor keypoints, Tensor object_keypoints, Tensor object_boxes, Tensor sigmas) {
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
  return match(problem, [=] {
    return [=, similarity = KeypointSimilarity(spread, joints)](
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
  m.impl("coco_match_boxes", TORCH_BOX(&match_boxes));
  m.impl("coco_match_masks", TORCH_BOX(&match_masks));
  m.impl("coco_measure_masks", TORCH_BOX(&measure_masks));
  m.impl("coco_match_keypoints", TORCH_BOX(&match_keypoints));
}

}  // namespace detkit::coco
