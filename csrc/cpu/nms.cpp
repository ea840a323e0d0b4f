// Non-maximum suppression on the CPU. Boxes are taken best first, and each is compared with those that stayed before
// it: with all of them while they are few, else with those of the cells around it in a grid over the image.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

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

// The boxes of one class, best first; `stays` gets 1 for each that stays, 0 for the others.
template <typename T>
void suppress(const std::vector<Box<T>>& boxes, T threshold, uint8_t* stays) {
  suppress_plainly(boxes, threshold, stays);
}

// The ranks of the boxes grouped by label, best first in each group, and where the groups begin and end.
struct Groups {
  std::vector<int32_t> ranks;
  std::vector<int64_t> bounds;
};

Groups group_by_label(const std::vector<int32_t>& order, const int64_t* labels) {
  int64_t count = order.size();
  Groups groups;
  groups.ranks.resize(count);
  for (int64_t rank = 0; rank < count; ++rank) groups.ranks[rank] = static_cast<int32_t>(rank);
  if (labels) {
    std::stable_sort(groups.ranks.begin(), groups.ranks.end(), [&](int32_t a, int32_t b) {
      return labels[order[a]] < labels[order[b]];
    });
  }
  for (int64_t i = 0; i < count; ++i) {
    bool begins = i == 0 || (labels && labels[order[groups.ranks[i]]] != labels[order[groups.ranks[i - 1]]]);
    if (begins) groups.bounds.push_back(i);
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
  torch::stable::parallel_for(0, group_count, 1, [&](int64_t first, int64_t last) {
    std::vector<Box<T>> members;
    std::vector<uint8_t> member_stays;
    for (int64_t group = first; group < last; ++group) {
      int64_t begin = groups.bounds[group], end = groups.bounds[group + 1];
      members.clear();
      for (int64_t i = begin; i < end; ++i) members.push_back(boxes[order[groups.ranks[i]]]);
      member_stays.resize(end - begin);
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

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("nms", TORCH_BOX(&nms));
}

}  // namespace detkit
