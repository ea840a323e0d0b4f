// Precision, recall and scores from what the detections found; see ../coco.h. Of the precision only its value at the
// detections that find an object is needed: it falls in between.
#include "../coco.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

namespace detkit::coco {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A detection of a category: its place in the order, and its rank among those of its image.
struct Ranked {
  int64_t place, rank;
  double score, weight;
};

// A detection that counts at one threshold at least, with its bits for one area range.
struct Entry {
  int64_t rank;
  double score, weight;
  int32_t matched, ignored;
};

// What is read at the detections that find an object, at one threshold.
struct Curve {
  std::vector<double> precision, recall, score;
  double right, wrong;  // so far; of the wrong ones only those that are not wrong at every threshold

  void clear() {
    for (auto* column : {&precision, &recall, &score}) column->clear();
    right = wrong = 0;
  }

  void add_right(const Entry& entry, double always_wrong, double objects) {
    right += entry.weight;
    precision.push_back(right / ((always_wrong + wrong) + right + std::numeric_limits<double>::epsilon()));
    recall.push_back(right / objects);
    score.push_back(entry.score);
  }

  // The best precision at a recall or a greater one.
  void smooth() {
    for (int64_t i = static_cast<int64_t>(precision.size()) - 2; i >= 0; --i) {
      precision[i] = std::max(precision[i], precision[i + 1]);
    }
  }
};

// The curves at all thresholds, in one pass over the best `limit` detections of each image: most of them are wrong
// everywhere.
void draw(const std::vector<Entry>& entries, int64_t limit, double objects, std::vector<Curve>& curves) {
  for (Curve& curve : curves) curve.clear();
  double always_wrong = 0;
  for (const Entry& entry : entries) {
    if (entry.rank >= limit) continue;
    if ((entry.matched | entry.ignored) == 0) {
      always_wrong += entry.weight;
      continue;
    }
    for (size_t t = 0; t < curves.size(); ++t) {
      if (entry.ignored >> t & 1) continue;
      if (entry.matched >> t & 1) {
        curves[t].add_right(entry, always_wrong, objects);
      } else {
        curves[t].wrong += entry.weight;
      }
    }
  }
  for (Curve& curve : curves) curve.smooth();
}

struct Accumulator {
  Tensor scores, images, categories, order, matched, ignored, objects, recall_thresholds;
  std::vector<int64_t> max_detections;
  int64_t threshold_count;
  std::optional<Tensor> image_weights;
  Tensor precision, recall, score;

  int64_t category_count() const { return objects.size(1); }
  int64_t area_count() const { return objects.size(0); }
  int64_t limit_count() const { return max_detections.size(); }

  // A category from order[begin .. end - 1]: its detections of all images, best first. Images that count for nothing
  // are not there.
  std::vector<Ranked> ranked(int64_t begin, int64_t end) const {
    const int64_t *detection = order.const_data_ptr<int64_t>(), *image = images.const_data_ptr<int64_t>();
    const double* score_data = scores.const_data_ptr<double>();
    const double* weights = image_weights ? image_weights->const_data_ptr<double>() : nullptr;
    std::vector<Ranked> result;
    for (int64_t place = begin, first = begin; place < end; ++place) {
      int64_t own_image = image[detection[place]];
      if (own_image != image[detection[first]]) first = place;
      double weight = weights ? weights[own_image] : 1.0;
      if (weight != 0) result.push_back({place, place - first, score_data[detection[place]], weight});
    }
    std::stable_sort(
        result.begin(), result.end(), [](const Ranked& a, const Ranked& b) { return a.score > b.score; });
    return result;
  }

  void gather(const std::vector<Ranked>& detections, int64_t area, std::vector<Entry>& entries) const {
    const int32_t* matched_data = matched.const_data_ptr<int32_t>() + area * order.size(0);
    const int32_t* ignored_data = ignored.const_data_ptr<int32_t>() + area * order.size(0);
    const int32_t always = static_cast<int32_t>((int64_t(1) << threshold_count) - 1);
    entries.clear();
    for (const Ranked& one : detections) {
      int32_t own_ignored = ignored_data[one.place];
      if (own_ignored != always) {
        entries.push_back({one.rank, one.score, one.weight, matched_data[one.place], own_ignored});
      }
    }
  }

  // `best_score` is that of all detections, those that never count too.
  void fill(
      int64_t category, int64_t area, int64_t limit, const std::vector<Entry>& entries, double best_score,
      std::vector<Curve>& curves) {
    double count = objects.const_data_ptr<double>()[area * category_count() + category];
    if (count == 0) return;
    draw(entries, max_detections[limit], count, curves);
    const double* wanted = recall_thresholds.const_data_ptr<double>();
    int64_t recalls = recall_thresholds.size(0);
    int64_t row = ((category * area_count() + area) * limit_count() + limit) * threshold_count;
    for (const Curve& curve : curves) {
      double* precision_row = precision.mutable_data_ptr<double>() + row * recalls;
      double* score_row = score.mutable_data_ptr<double>() + row * recalls;
      recall.mutable_data_ptr<double>()[row++] = curve.right / count;
      size_t at = 0;
      for (int64_t r = 0; r < recalls; ++r) {
        while (at < curve.recall.size() && curve.recall[at] < wanted[r]) ++at;
        bool is_reached = at < curve.recall.size();
        precision_row[r] = is_reached ? curve.precision[at] : 0;
        // No recall at all is reached by the very first detection, whatever it found.
        score_row[r] = wanted[r] <= 0 ? best_score : is_reached ? curve.score[at] : 0;
      }
    }
  }
};

// Where each category begins in the order; one more number for the end.
std::vector<int64_t> category_bounds(const Tensor& categories, const Tensor& order, int64_t category_count) {
  std::vector<int64_t> bounds(category_count + 1);
  const int64_t *category = categories.const_data_ptr<int64_t>(), *detection = order.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < order.size(0); ++i) ++bounds[category[detection[i]] + 1];
  std::partial_sum(bounds.begin(), bounds.end(), bounds.begin());
  return bounds;
}

Tensor filled(const Tensor& like, std::vector<int64_t> shape) {
  Tensor result = torch::stable::new_empty(like, shape);
  std::fill_n(result.mutable_data_ptr<double>(), result.numel(), -1.0);
  return result;
}

std::tuple<Tensor, Tensor, Tensor> accumulate(
    Tensor scores, Tensor images, Tensor categories, Tensor order, Tensor matched, Tensor ignored, Tensor objects,
    Tensor recall_thresholds, std::vector<int64_t> max_detections, int64_t threshold_count,
    std::optional<Tensor> image_weights) {
  int64_t recalls = recall_thresholds.size(0), category_count = objects.size(1), area_count = objects.size(0);
  int64_t limits = max_detections.size();
  if (image_weights) image_weights = torch::stable::contiguous(*image_weights);
  Accumulator accumulator{
      torch::stable::contiguous(scores),
      torch::stable::contiguous(images),
      torch::stable::contiguous(categories),
      torch::stable::contiguous(order),
      torch::stable::contiguous(matched),
      torch::stable::contiguous(ignored),
      torch::stable::contiguous(objects),
      torch::stable::contiguous(recall_thresholds),
      max_detections,
      threshold_count,
      image_weights,
      filled(objects, {category_count, area_count, limits, threshold_count, recalls}),
      filled(objects, {category_count, area_count, limits, threshold_count}),
      filled(objects, {category_count, area_count, limits, threshold_count, recalls})};
  std::vector<int64_t> bounds = category_bounds(accumulator.categories, accumulator.order, category_count);
  torch::stable::parallel_for(0, category_count, 1, [&](int64_t first, int64_t last) {
    std::vector<Entry> entries;
    std::vector<Curve> curves(threshold_count);
    for (int64_t category = first; category < last; ++category) {
      std::vector<Ranked> detections = accumulator.ranked(bounds[category], bounds[category + 1]);
      // The best of all is the best of its image, and so there whatever the limit.
      double best_score = detections.empty() ? 0 : detections[0].score;
      for (int64_t area = 0; area < area_count; ++area) {
        accumulator.gather(detections, area, entries);
        for (int64_t limit = 0; limit < limits; ++limit) {
          accumulator.fill(category, area, limit, entries, best_score, curves);
        }
      }
    }
  });
  return {accumulator.precision, accumulator.recall, accumulator.score};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("coco_accumulate", TORCH_BOX(&accumulate));
}

}  // namespace detkit::coco
