// Non-maximum suppression on the CPU. Boxes are taken best first, and each is compared with those that stayed before
// it while these are few. Else only boxes near each other in a grid are compared: where few overlap, all pairs at once.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "box_columns.h"
#include "box_grid.h"
#include "overlapping_pairs.h"
#include "sort.h"

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

// The indices of the scores, best first, equal ones in their order.
template <typename T>
std::vector<int32_t> ranking(const T* scores, int64_t count) {
  using Key = decltype(descending_key(T(0)));
  std::vector<Keyed<Key>> items(count);
  for (int64_t i = 0; i < count; ++i) items[i] = {descending_key(scores[i]), static_cast<int32_t>(i)};
  sort_by_key(items, 8 * sizeof(Key));
  std::vector<int32_t> order(count);
  for (int64_t i = 0; i < count; ++i) order[i] = items[i].value;
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

// While so few boxes stay, each of the others is compared with all of them.
constexpr int64_t few = 256;
// With so many boxes in a cell of the grid, comparing all of them is more work than comparing with those that stay.
constexpr double crowded = 8;

// Decides from box `begin` on, until `most` boxes have stayed, block by block: a block is first compared with what
// stayed before it, side by side, and then within itself, one after the other, which is little where few stay.
// Returns the number of the first box that is not decided.
template <typename T, typename Kept>
int64_t suppress_by_blocks(const std::vector<Box<T>>& boxes, int64_t begin, int64_t most, Kept& kept, uint8_t* stays) {
  int64_t count = boxes.size();
  while (begin < count && kept.count() < most) {
    int64_t end = std::min(count, begin + std::max<int64_t>(64, begin)), known = kept.count();
    torch::stable::parallel_for(
        begin, end, 512, [&](int64_t first, int64_t last) { kept.compare(first, last, stays); });
    for (; begin < end && kept.count() < most; ++begin) {
      if (stays[begin]) stays[begin] = !kept.overlaps_any(begin, known);
      if (stays[begin]) kept.add(begin);
    }
  }
  return begin;
}

template <typename T>
void suppress_by_pairs(const BoxGrid<T>& grid, uint8_t* stays) {
  std::fill(stays, stays + grid.boxes().size(), 1);
  for (const Keyed<uint32_t>& pair : overlapping_pairs(grid)) {
    if (stays[pair.value]) stays[pair.key] = 0;
  }
}

template <typename T>
void suppress_ordinary(const std::vector<Box<T>>& boxes, T threshold, uint8_t* stays) {
  BoxColumns<T> first_kept(boxes, threshold);
  int64_t count = boxes.size(), decided = suppress_by_blocks(boxes, 0, few, first_kept, stays);
  if (decided == count) return;
  BoxGrid<T> grid(boxes, threshold);
  if (grid.crowding() < crowded) return suppress_by_pairs(grid, stays);
  KeptInGrid<T> kept(grid);
  for (int64_t i = 0; i < decided; ++i) {
    if (stays[i]) kept.add(i);
  }
  suppress_by_blocks(boxes, decided, count, kept, stays);
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
  bool all_ordinary = true, none_empty = true;
  for (const Box<T>& box : boxes) {
    all_ordinary &= is_ordinary(box);
    none_empty &= !is_empty(box);
  }
  if (threshold < 0 || !all_ordinary) return suppress_plainly(boxes, threshold, stays);
  if (none_empty) return suppress_ordinary(boxes, threshold, stays);
  std::vector<Box<T>> sized;
  std::copy_if(boxes.begin(), boxes.end(), std::back_inserter(sized), [](const Box<T>& box) { return !is_empty(box); });
  std::vector<uint8_t> sized_stays(sized.size());
  suppress_ordinary(sized, threshold, sized_stays.data());
  auto next = sized_stays.begin();
  for (size_t i = 0; i < boxes.size(); ++i) stays[i] = is_empty(boxes[i]) ? 1 : *next++;
}

// The ranks of the boxes grouped by label, best first in each group, and where the groups begin and end.
struct Groups {
  std::vector<Keyed<uint64_t>> members;  // label and rank
  std::vector<int64_t> bounds;
};

Groups group_by_label(const std::vector<int32_t>& order, const int64_t* labels) {
  int64_t count = order.size();
  auto [least, most] = std::minmax_element(labels, labels + count);
  Groups groups{std::vector<Keyed<uint64_t>>(count), {0}};
  for (int64_t rank = 0; rank < count; ++rank) {
    uint64_t label = static_cast<uint64_t>(labels[order[rank]]) - static_cast<uint64_t>(*least);
    groups.members[rank] = {label, static_cast<int32_t>(rank)};
  }
  sort_by_key(groups.members, std::bit_width(static_cast<uint64_t>(*most) - static_cast<uint64_t>(*least)));
  for (int64_t i = 1; i < count; ++i) {
    if (groups.members[i].key != groups.members[i - 1].key) groups.bounds.push_back(i);
  }
  groups.bounds.push_back(count);
  return groups;
}

// Each class by itself: large ones one after the other, the others side by side.
template <typename T>
void suppress_groups(
    const Box<T>* boxes, const std::vector<int32_t>& order, const Groups& groups, T threshold, uint8_t* stays) {
  int64_t group_count = static_cast<int64_t>(groups.bounds.size()) - 1;
  int64_t large = std::max<int64_t>(4096, order.size() / torch::stable::get_num_threads());
  auto suppress_group = [&](int64_t group) {
    int64_t begin = groups.bounds[group], size = groups.bounds[group + 1] - begin;
    const Keyed<uint64_t>* members = &groups.members[begin];
    std::vector<Box<T>> group_boxes(size);
    std::vector<uint8_t> group_stays(size);
    for (int64_t i = 0; i < size; ++i) group_boxes[i] = boxes[order[members[i].value]];
    suppress(group_boxes, threshold, group_stays.data());
    for (int64_t i = 0; i < size; ++i) stays[members[i].value] = group_stays[i];
  };
  auto is_large = [&](int64_t group) { return groups.bounds[group + 1] - groups.bounds[group] > large; };
  for (int64_t group = 0; group < group_count; ++group) {
    if (is_large(group)) suppress_group(group);
  }
  constexpr int64_t boxes_per_task = 1000;
  int64_t groups_per_task = 1 + group_count * boxes_per_task / order.size();
  torch::stable::parallel_for(0, group_count, groups_per_task, [&](int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      if (!is_large(group)) suppress_group(group);
    }
  });
}

template <typename T>
std::vector<uint8_t> survivors(
    const Tensor& tensor, const std::vector<int32_t>& order, const int64_t* labels, double iou_threshold) {
  const Box<T>* boxes = reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
  std::vector<uint8_t> stays(order.size());
  if (order.empty()) return stays;
  T threshold = threshold_as<T>(iou_threshold);
  if (labels) {
    suppress_groups(boxes, order, group_by_label(order, labels), threshold, stays.data());
    return stays;
  }
  std::vector<Box<T>> ranked(order.size());
  torch::stable::parallel_for(0, order.size(), 4096, [&](int64_t first, int64_t last) {
    for (int64_t rank = first; rank < last; ++rank) ranked[rank] = boxes[order[rank]];
  });
  suppress(ranked, threshold, stays.data());
  return stays;
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  boxes = as_contiguous(boxes);
  scores = as_contiguous(scores);
  int64_t count = boxes.size(0);
  STD_TORCH_CHECK(count <= INT32_MAX, "nms: more than 2^31 boxes");
  if (labels) labels = as_contiguous(*labels);
  const int64_t* label_data = labels ? labels->const_data_ptr<int64_t>() : nullptr;

  std::vector<int32_t> order = scores.scalar_type() == ScalarType::Double
                                   ? ranking(scores.const_data_ptr<double>(), count)
                                   : ranking(scores.const_data_ptr<float>(), count);
  bool is_double = boxes.scalar_type() == ScalarType::Double;
  auto decide = is_double ? survivors<double> : survivors<float>;
  std::vector<uint8_t> stays = decide(boxes, order, label_data, iou_threshold);

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
