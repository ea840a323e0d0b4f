// COCO's rules by which detections find objects, whatever is compared; see ../coco.h. The similarities of one image and
// category are computed, used and forgotten, so that memory does not grow with the data set.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "../coco.h"

namespace detkit::coco {

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
      Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges,
      int64_t max_detections)
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
    int64_t count = detection_count(), objects = object_count(), threshold_count = thresholds.size(0);
    STD_TORCH_CHECK(
        threshold_count >= 1 && threshold_count <= 31, "coco_match: from 1 to 31 thresholds, got ", threshold_count);
    STD_TORCH_CHECK(
        images.numel() == count && categories.numel() == count && areas.numel() == count &&
            object_categories.numel() == objects && object_areas.numel() == objects &&
            object_crowd.numel() == objects && object_ignored.numel() == objects,
        "coco_match: what is told of detections or objects must be as long as they are many");
    for (const Tensor* positions : {&images, &categories, &object_images, &object_categories}) {
      const int64_t* data = positions->const_data_ptr<int64_t>();
      STD_TORCH_CHECK(
          std::all_of(data, data + positions->numel(), [](int64_t position) { return position >= 0; }),
          "coco_match: images and categories must not be negative");
    }
  }

  int64_t detection_count() const { return scores.numel(); }
  int64_t object_count() const { return object_images.numel(); }

  // A similarity that is as good as 1 must be enough for a threshold of 1.
  std::vector<double> reachable_thresholds() const {
    const double* data = thresholds.const_data_ptr<double>();
    std::vector<double> result;
    for (int64_t t = 0; t < thresholds.numel(); ++t) result.push_back(std::min(data[t], 1 - 1e-10));
    return result;
  }

  double lowest_threshold() const {
    std::vector<double> all = reachable_thresholds();
    return *std::min_element(all.begin(), all.end());
  }
};

// An object that a detection is similar enough to, at one threshold at least.
struct Candidate {
  int32_t object;  // its place among those of the image and category
  int32_t enough;  // bit t: the similarity is enough for threshold t
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
        area_count_(problem.area_ranges.size(0)),
        thresholds_(problem.reachable_thresholds()),
        lowest_(problem.lowest_threshold()) {}

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
        if (similarity >= lowest_) candidates_.push_back({int32_t(g), enough(similarity), similarity});
      }
      first_candidate_.push_back(candidates_.size());
    }
  }

  int32_t enough(double similarity) const {
    int32_t bits = 0;
    for (size_t t = 0; t < thresholds_.size(); ++t) bits |= int32_t(similarity >= thresholds_[t]) << t;
    return bits;
  }

  // The thresholds at which detection d finds an object, and those at which the object counts for nothing.
  std::tuple<int32_t, int32_t> match_one(const Scene& scene, int64_t d) {
    const Candidate* begin = candidates_.data() + first_candidate_[d];
    const Candidate* end = candidates_.data() + first_candidate_[d + 1];
    int32_t possible = 0;
    for (const Candidate* one = begin; one < end; ++one) possible |= open(scene, *one);
    if (end - begin == 1) {  // as most have it
      taken_[begin->object] |= possible;
      return {possible, counts_for_nothing_[begin->object] ? possible : 0};
    }
    int32_t nothing = 0;
    for (int32_t left = possible; left != 0; left &= left - 1) {
      int32_t threshold = left & -left;
      // Only one that finds no object that counts may take one that does not.
      int32_t best = best_object(scene, begin, end, threshold, false);
      if (best < 0) {
        best = best_object(scene, begin, end, threshold, true);
        nothing |= threshold;
      }
      taken_[best] |= threshold;
    }
    return {possible, nothing};
  }

  // The thresholds at which a candidate is still to be had.
  int32_t open(const Scene& scene, const Candidate& candidate) const {
    return crowd_[scene.objects[candidate.object]] ? candidate.enough : candidate.enough & ~taken_[candidate.object];
  }

  // The most similar object that is still to be had at a threshold, of equally similar ones the last; -1 for none.
  int32_t best_object(
      const Scene& scene, const Candidate* begin, const Candidate* end, int32_t threshold,
      bool of_those_for_nothing) const {
    int32_t best = -1;
    double most = 0;
    for (const Candidate* one = begin; one < end; ++one) {
      if (one->similarity < most || counts_for_nothing_[one->object] != of_those_for_nothing) continue;
      if ((open(scene, *one) & threshold) == 0) continue;
      best = one->object;
      most = one->similarity;
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
inline Grouping rank(const Problem& problem) {
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

}  // namespace detkit::coco
