// Soft-NMS on the CPU. The boxes of a class are kept in blocks of neighbors: a box that is taken can only lower the
// scores of blocks that it reaches, and of the others the best score is known from before.
#include "../soft_nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "../contiguous.h"
#include "label_groups.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t block_size = 64;
constexpr int32_t nobody = INT32_MAX;

// Neighboring boxes, coordinate by coordinate, with their scores.
template <typename T>
struct BoxBlock {
  T x1[block_size] = {}, y1[block_size] = {}, x2[block_size] = {}, y2[block_size] = {}, areas[block_size] = {};
  T scores[block_size];
  int32_t indices[block_size];
  Box<T> hull{INFINITY, INFINITY, -INFINITY, -INFINITY};

  BoxBlock() {
    std::fill(scores, scores + block_size, gone<T>);
    std::fill(indices, indices + block_size, nobody);
  }

  void put(int64_t place, const Box<T>& box, T score, int32_t index) {
    x1[place] = box.x1;
    y1[place] = box.y1;
    x2[place] = box.x2;
    y2[place] = box.y2;
    areas[place] = area(box);
    scores[place] = score;
    indices[place] = index;
    // In this order of arguments NaN is passed over: such a box overlaps nothing.
    hull = {smaller(hull.x1, box.x1), smaller(hull.y1, box.y1), larger(hull.x2, box.x2), larger(hull.y2, box.y2)};
  }
};

// The best score of a block, and the lowest index among those that have it.
template <typename T>
struct Best {
  T score;
  int32_t index;
};

template <typename T>
DETKIT_INLINE Best<T> best_of(const T* scores, const int32_t* indices, int64_t count) {
  Best<T> best{gone<T>, nobody};
  for (int64_t i = 0; i < count; ++i) best.score = larger(best.score, scores[i]);
  for (int64_t i = 0; i < count; ++i) {
    best.index = std::min(best.index, scores[i] == best.score ? indices[i] : nobody);
  }
  return best;
}

template <Decay method, typename T>
DETKIT_EVERY_MACHINE Best<T> decay_block(BoxBlock<T>& block, const Box<T>& taken, T taken_area, SoftRule<T> rule) {
  T ious[block_size];
  for (int64_t i = 0; i < block_size; ++i) {
    Box<T> box{block.x1[i], block.y1[i], block.x2[i], block.y2[i]};
    ious[i] = iou_of(taken, taken_area, box, block.areas[i]);
  }
  for (int64_t i = 0; i < block_size; ++i) {
    // An exponential is worth a branch, while what needs none is better without.
    if (method == Decay::gaussian && !(ious[i] > T(0))) continue;
    block.scores[i] = decayed<method>(block.scores[i], ious[i], rule);
  }
  return best_of(block.scores, block.indices, block_size);
}

// The blocks' hulls and best scores, where all are looked through for every box that is taken.
template <typename T>
struct Overview {
  std::vector<T> x1, y1, x2, y2, scores;
  std::vector<int32_t> indices;
  std::vector<uint8_t> reached;

  explicit Overview(const std::vector<BoxBlock<T>>& blocks) : reached(blocks.size()) {
    for (const BoxBlock<T>& block : blocks) {
      Best<T> best = best_of(block.scores, block.indices, block_size);
      x1.push_back(block.hull.x1);
      y1.push_back(block.hull.y1);
      x2.push_back(block.hull.x2);
      y2.push_back(block.hull.y2);
      scores.push_back(best.score);
      indices.push_back(best.index);
    }
  }
};

template <typename T>
DETKIT_EVERY_MACHINE Best<T> best_of_all(const Overview<T>& overview) {
  return best_of(overview.scores.data(), overview.indices.data(), overview.scores.size());
}

// Marks the blocks that have scores left and whose hull overlaps the box.
template <typename T>
DETKIT_EVERY_MACHINE void mark_reached(Overview<T>& overview, const Box<T>& box) {
  const T *x1 = overview.x1.data(), *y1 = overview.y1.data(), *x2 = overview.x2.data(), *y2 = overview.y2.data();
  const T* scores = overview.scores.data();
  uint8_t* reached = overview.reached.data();
  int64_t count = overview.scores.size();
  for (int64_t i = 0; i < count; ++i) {
    reached[i] = (x1[i] < box.x2) & (box.x1 < x2[i]) & (y1[i] < box.y2) & (box.y1 < y2[i]) & (scores[i] > gone<T>);
  }
}

// The bits of a number between 0 and 65535 with a zero before each.
uint32_t spaced(uint32_t bits) {
  bits = (bits | bits << 8) & 0x00ff00ffu;
  bits = (bits | bits << 4) & 0x0f0f0f0fu;
  bits = (bits | bits << 2) & 0x33333333u;
  return (bits | bits << 1) & 0x55555555u;
}

// The places of numbers within their range, from 0 to 65535; what is not finite is somewhere.
template <typename T>
std::vector<uint32_t> grid_places(const std::vector<T>& positions) {
  T low = INFINITY, high = -INFINITY;
  for (T position : positions) {
    if (!std::isfinite(position)) continue;
    low = std::min(low, position);
    high = std::max(high, position);
  }
  std::vector<uint32_t> places;
  for (T position : positions) {
    T share = (position - low) / (high - low);
    places.push_back(share > 0 && share <= 1 ? static_cast<uint32_t>(share * 65535) : 0);
  }
  return places;
}

// The members in Morton order of their boxes' centers, in which neighbors are mostly near each other.
template <typename T>
std::vector<int32_t> neighboring(const Box<T>* boxes, const int32_t* members, int64_t count) {
  std::vector<T> x, y;
  for (int64_t i = 0; i < count; ++i) {
    const Box<T>& box = boxes[members[i]];
    x.push_back(box.x1 / 2 + box.x2 / 2);
    y.push_back(box.y1 / 2 + box.y2 / 2);
  }
  std::vector<uint32_t> columns = grid_places(x), rows = grid_places(y);
  std::vector<std::pair<uint32_t, int32_t>> keyed(count);
  for (int64_t i = 0; i < count; ++i) keyed[i] = {spaced(columns[i]) | spaced(rows[i]) << 1, members[i]};
  std::sort(keyed.begin(), keyed.end());
  std::vector<int32_t> order;
  for (const auto& [key, member] : keyed) order.push_back(member);
  return order;
}

// Takes the boxes of one class, best first; `taken_scores` gets the score of each that stays. `places` has room for
// what belongs to the members.
template <Decay method, typename T>
void suppress_softly(
    const Box<T>* boxes, const T* scores, const int32_t* members, int64_t count, const SoftRule<T>& rule,
    int32_t* places, T* taken_scores) {
  std::vector<int32_t> order = neighboring(boxes, members, count);
  std::vector<BoxBlock<T>> blocks((count + block_size - 1) / block_size);
  for (int64_t place = 0; place < count; ++place) {
    int32_t index = order[place];
    blocks[place / block_size].put(place % block_size, boxes[index], lasting(scores[index], rule), index);
    places[index] = static_cast<int32_t>(place);
  }

  Overview<T> overview(blocks);
  for (;;) {
    Best<T> best = best_of_all(overview);
    if (best.score == gone<T>) return;
    taken_scores[best.index] = best.score;
    Box<T> box = boxes[best.index];
    T box_area = area(box);
    int64_t place = places[best.index];
    blocks[place / block_size].scores[place % block_size] = gone<T>;
    mark_reached(overview, box);
    overview.reached[place / block_size] = 1;
    for (size_t block = 0; block < blocks.size(); ++block) {
      if (!overview.reached[block]) continue;
      Best<T> left = decay_block<method>(blocks[block], box, box_area, rule);
      overview.scores[block] = left.score;
      overview.indices[block] = left.index;
    }
  }
}

template <typename T>
std::vector<T> take(
    const Tensor& boxes, const Tensor& scores, const int64_t* labels, const std::string& method,
    const SoftRule<T>& rule) {
  const Box<T>* box_data = reinterpret_cast<const Box<T>*>(boxes.const_data_ptr<T>());
  const T* score_data = scores.const_data_ptr<T>();
  LabelGroups groups = group_by_label(boxes.size(0), [&](int64_t i) { return labels ? labels[i] : 0; });
  std::vector<T> taken_scores(boxes.size(0), gone<T>);
  std::vector<int32_t> places(boxes.size(0));
  constexpr int64_t boxes_per_task = 250;
  int64_t groups_per_task = 1 + groups.count() * boxes_per_task / std::max<int64_t>(1, boxes.size(0));
  with_decay(method, [&]<Decay constant>() {
    torch::stable::parallel_for(0, groups.count(), groups_per_task, [&](int64_t first, int64_t last) {
      for (int64_t group = first; group < last; ++group) {
        suppress_softly<constant>(
            box_data, score_data, groups.members.data() + groups.bounds[group], groups.size(group), rule, places.data(),
            taken_scores.data());
      }
    });
  });
  return taken_scores;
}

// The boxes that were taken, best first over all classes.
template <typename T>
std::tuple<Tensor, Tensor> collect(const std::vector<T>& taken_scores, const Tensor& scores) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < taken_scores.size(); ++i) {
    if (taken_scores[i] > gone<T>) kept.push_back(i);
  }
  std::stable_sort(
      kept.begin(), kept.end(), [&](int64_t a, int64_t b) { return taken_scores[a] > taken_scores[b]; });
  int64_t count = kept.size();
  Tensor result = torch::stable::new_empty(scores, {count}, ScalarType::Long);
  Tensor result_scores = torch::stable::new_empty(scores, {count});
  std::copy(kept.begin(), kept.end(), result.mutable_data_ptr<int64_t>());
  T* out = result_scores.mutable_data_ptr<T>();
  for (int64_t i : kept) *out++ = taken_scores[i];
  return {result, result_scores};
}

std::tuple<Tensor, Tensor> soft_nms(
    Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold, double sigma, std::string method,
    double score_threshold) {
  boxes = as_contiguous(boxes);
  scores = as_contiguous(scores);
  STD_TORCH_CHECK(boxes.size(0) <= INT32_MAX, "soft_nms: more than 2^31 boxes");
  if (labels) labels = as_contiguous(*labels);
  const int64_t* label_data = labels ? labels->const_data_ptr<int64_t>() : nullptr;
  auto run = [&]<typename T>() {
    SoftRule<T> rule = SoftRule<T>::of(iou_threshold, sigma, score_threshold);
    return collect(take<T>(boxes, scores, label_data, method, rule), scores);
  };
  return boxes.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                   : run.template operator()<float>();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("soft_nms", TORCH_BOX(&soft_nms));
}

}  // namespace detkit
