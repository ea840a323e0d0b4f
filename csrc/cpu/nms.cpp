// Non-maximum suppression on the CPU. Boxes are taken best first, and each is compared with those that stayed before
// it: with all of them while they are few, else with those of the cells around it in a grid over the image.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <optional>
#include <tuple>
#include <vector>

#include "box_grid.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// An unsigned integer that orders as the scores do, best first.
uint32_t descending_key(float score) {
  uint32_t bits;
  score += 0.0f;  // -0 becomes 0
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 31 ? bits : ~(bits | 0x80000000u);
}
uint64_t descending_key(double score) {
  uint64_t bits;
  score += 0.0;
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 63 ? bits : ~(bits | 0x8000000000000000u);
}

// The indices of the scores, best first, equal ones in their order: a radix sort by 11 bits at a time.
template <typename T>
std::vector<int32_t> ranking(const T* scores, int64_t count) {
  constexpr int digit_bits = 11, digits = 1 << digit_bits, key_bits = 8 * sizeof(T);
  using Key = decltype(descending_key(T(0)));
  std::vector<Key> keys(count), sorted_keys(count);
  std::vector<int32_t> order(count), sorted_order(count);
  for (int64_t i = 0; i < count; ++i) {
    keys[i] = descending_key(scores[i]);
    order[i] = static_cast<int32_t>(i);
  }
  for (int shift = 0; shift < key_bits; shift += digit_bits) {
    int32_t place[digits + 1] = {};
    for (Key key : keys) ++place[((key >> shift) & (digits - 1)) + 1];
    for (int digit = 0; digit < digits; ++digit) place[digit + 1] += place[digit];
    for (int64_t i = 0; i < count; ++i) {
      int32_t to = place[(keys[i] >> shift) & (digits - 1)]++;
      sorted_keys[to] = keys[i];
      sorted_order[to] = order[i];
    }
    keys.swap(sorted_keys);
    order.swap(sorted_order);
  }
  return order;
}

// Every box against every one that stays: right for any input whatever.
template <typename T>
void suppress_plainly(const std::vector<Box<T>>& boxes, T threshold, uint8_t* stays) {
  std::vector<Box<T>> kept;
  for (size_t i = 0; i < boxes.size(); ++i) {
    T own_area = area(boxes[i]);
    stays[i] = std::none_of(kept.begin(), kept.end(), [&](const Box<T>& other) {
      return overlaps(other, area(other), boxes[i], own_area, threshold);
    });
    if (stays[i]) kept.push_back(boxes[i]);
  }
}

// The boxes that stay, coordinate by coordinate, so that one box is compared with many at once.
template <typename T>
struct BoxColumns {
  static constexpr int64_t group = 4 * lanes<T>;
  std::vector<T> x1, y1, x2, y2, areas;
  int64_t count = 0;

  void add(const Box<T>& box) {
    if (count % group == 0) {
      for (auto* column : {&x1, &y1, &x2, &y2, &areas}) column->resize(count + group);  // zeros overlap nothing
    }
    x1[count] = box.x1;
    y1[count] = box.y1;
    x2[count] = box.x2;
    y2[count] = box.y2;
    areas[count++] = area(box);
  }
};

// By how much the overlap of the box with each of a group is above the threshold; 0 where it is not. Each of the
// result's numbers is the most of four boxes. The overlap is the IoU, or, not exactly, a multiple of it.
template <typename T>
DETKIT_INLINE Vector<T> excess(
    const BoxColumns<T>& kept, int64_t begin, const Box<T>& box, T own_area, T threshold, bool exactly) {
  using V = Vector<T>;
  V most = {};
  for (int64_t i = begin; i < begin + BoxColumns<T>::group; i += lanes<T>) {
    V right = load<V>(&kept.x2[i]), left = load<V>(&kept.x1[i]);
    V bottom = load<V>(&kept.y2[i]), top = load<V>(&kept.y1[i]);
    V width = (right < box.x2 ? right : V{} + box.x2) - (left > box.x1 ? left : V{} + box.x1);
    V height = (bottom < box.y2 ? bottom : V{} + box.y2) - (top > box.y1 ? top : V{} + box.y1);
    V common = (width > T(0) ? width : V{}) * (height > T(0) ? height : V{});
    V joint = load<V>(&kept.areas[i]) + own_area - common;
    V above = exactly ? common / joint - threshold : common - threshold * joint;
    most = above > most ? above : most;
  }
  return most;
}

// An exact IoU takes a division, which is made only where a product finds that it may be large enough.
template <typename T>
DETKIT_EVERY_MACHINE bool overlaps_any(const BoxColumns<T>& kept, const Box<T>& box, T own_area, T threshold) {
  const T nearly = threshold * (1 - 8 * std::numeric_limits<T>::epsilon());
  for (int64_t begin = 0; begin < kept.count; begin += BoxColumns<T>::group) {
    if (any_bit(excess(kept, begin, box, own_area, nearly, false)) &&
        any_bit(excess(kept, begin, box, own_area, threshold, true))) {
      return true;
    }
  }
  return false;
}

// Each box against all that stay, many at once, while they are few; then against those near it.
template <typename T>
void suppress_ordinary(const std::vector<Box<T>>& boxes, T threshold, uint8_t* stays) {
  constexpr int64_t few = 256;
  BoxColumns<T> kept;
  size_t i = 0;
  for (; i < boxes.size() && kept.count < few; ++i) {
    stays[i] = !overlaps_any(kept, boxes[i], area(boxes[i]), threshold);
    if (stays[i]) kept.add(boxes[i]);
  }
  if (i == boxes.size()) return;

  BoxGrid<T> grid(boxes, threshold);
  for (size_t before = 0; before < i; ++before) {
    if (stays[before]) grid.add(before);
  }
  for (; i < boxes.size(); ++i) {
    stays[i] = !grid.overlaps_any(i);
    if (stays[i]) grid.add(i);
  }
}

// A box without a size overlaps nothing by more than any threshold that is not negative.
template <typename T>
bool is_empty(const Box<T>& box) {
  return !(box.x2 > box.x1 && box.y2 > box.y1);
}

// Whether arithmetic neither loses nor overflows a box.
template <typename T>
bool is_ordinary(const Box<T>& box) {
  constexpr T smallest = T(1e-15), largest = T(1e15);
  T width = box.x2 - box.x1, height = box.y2 - box.y1;
  bool is_large = width >= smallest && height >= smallest && width * height >= smallest;
  return (is_large || is_empty(box)) && std::abs(box.x1) <= largest && std::abs(box.y1) <= largest &&
         std::abs(box.x2) <= largest && std::abs(box.y2) <= largest;
}

// The boxes of one class, best first; `stays` gets 1 for each that stays, 0 for the others.
template <typename T>
void suppress(const std::vector<Box<T>>& boxes, T threshold, uint8_t* stays) {
  if (threshold < 0 || !std::all_of(boxes.begin(), boxes.end(), is_ordinary<T>)) {
    suppress_plainly(boxes, threshold, stays);
    return;
  }
  if (std::none_of(boxes.begin(), boxes.end(), is_empty<T>)) {
    suppress_ordinary(boxes, threshold, stays);
    return;
  }
  std::vector<Box<T>> sized;
  std::copy_if(boxes.begin(), boxes.end(), std::back_inserter(sized), [](const Box<T>& box) { return !is_empty(box); });
  std::vector<uint8_t> sized_stays(sized.size());
  suppress_ordinary(sized, threshold, sized_stays.data());
  auto next = sized_stays.begin();
  for (size_t i = 0; i < boxes.size(); ++i) stays[i] = is_empty(boxes[i]) ? 1 : *next++;
}

// The ranks of the boxes grouped by label, best first in each group, and where the groups begin and end.
struct Groups {
  std::vector<int32_t> ranks;
  std::vector<int64_t> bounds;
};

Groups group_by_label(const std::vector<int32_t>& order, const int64_t* labels) {
  int64_t count = order.size();
  Groups groups{std::vector<int32_t>(count), {0, count}};
  std::iota(groups.ranks.begin(), groups.ranks.end(), 0);
  if (!labels || count == 0) return groups;

  std::vector<int64_t> ranked(count);
  for (int64_t rank = 0; rank < count; ++rank) ranked[rank] = labels[order[rank]];
  std::stable_sort(
      groups.ranks.begin(), groups.ranks.end(), [&](int32_t a, int32_t b) { return ranked[a] < ranked[b]; });
  groups.bounds = {0};
  for (int64_t i = 1; i < count; ++i) {
    if (ranked[groups.ranks[i]] != ranked[groups.ranks[i - 1]]) groups.bounds.push_back(i);
  }
  groups.bounds.push_back(count);
  return groups;
}

template <typename T>
std::vector<uint8_t> survivors(
    const Box<T>* boxes, const std::vector<int32_t>& order, const int64_t* labels, double iou_threshold) {
  Groups groups = group_by_label(order, labels);
  std::vector<uint8_t> stays(order.size());
  int64_t group_count = static_cast<int64_t>(groups.bounds.size()) - 1;
  constexpr int64_t boxes_per_task = 2000;
  int64_t groups_per_task = 1 + group_count * boxes_per_task / std::max<int64_t>(1, order.size());
  torch::stable::parallel_for(0, group_count, groups_per_task, [&](int64_t first, int64_t last) {
    std::vector<Box<T>> members;
    std::vector<uint8_t> member_stays;
    for (int64_t group = first; group < last; ++group) {
      int64_t begin = groups.bounds[group], end = groups.bounds[group + 1];
      members.resize(end - begin);
      member_stays.resize(end - begin);
      for (int64_t i = begin; i < end; ++i) members[i - begin] = boxes[order[groups.ranks[i]]];
      suppress(members, threshold_as<T>(iou_threshold), member_stays.data());
      for (int64_t i = begin; i < end; ++i) stays[groups.ranks[i]] = member_stays[i - begin];
    }
  });
  return stays;
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  boxes = torch::stable::contiguous(boxes);
  scores = torch::stable::contiguous(scores);
  int64_t count = boxes.size(0);
  STD_TORCH_CHECK(count <= INT32_MAX, "nms: more than 2^31 boxes");
  if (labels) labels = torch::stable::contiguous(*labels);
  const int64_t* label_data = labels ? labels->const_data_ptr<int64_t>() : nullptr;

  std::vector<int32_t> order = scores.scalar_type() == ScalarType::Double
                                   ? ranking(scores.const_data_ptr<double>(), count)
                                   : ranking(scores.const_data_ptr<float>(), count);
  std::vector<uint8_t> stays =
      boxes.scalar_type() == ScalarType::Double
          ? survivors(reinterpret_cast<const Box<double>*>(boxes.const_data_ptr<double>()), order, label_data,
                      iou_threshold)
          : survivors(reinterpret_cast<const Box<float>*>(boxes.const_data_ptr<float>()), order, label_data,
                      iou_threshold);

  int64_t kept_count = std::count(stays.begin(), stays.end(), 1);
  Tensor kept = torch::stable::new_empty(boxes, {kept_count}, ScalarType::Long);
  int64_t* next = kept.mutable_data_ptr<int64_t>();
  for (int64_t rank = 0; rank < count; ++rank) {
    if (stays[rank]) *next++ = order[rank];
  }
  return kept;
}

std::tuple<Tensor, Tensor> nms_padded(
    Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold, int64_t count) {
  Tensor kept = nms(boxes, scores, labels, iou_threshold);
  int64_t number = std::min(count, kept.size(0));
  Tensor padded = torch::stable::new_empty(kept, {count}), padded_number = torch::stable::new_empty(kept, {});
  int64_t* out = padded.mutable_data_ptr<int64_t>();
  std::copy_n(kept.const_data_ptr<int64_t>(), number, out);
  std::fill(out + number, out + count, -1);
  *padded_number.mutable_data_ptr<int64_t>() = number;
  return {padded, padded_number};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
}

}  // namespace detkit
