// Non-maximum suppression on the CPU. Boxes are taken best first, and each is compared with those that stayed before
// it while these are few; where the best leave few of many, the others are not even ranked before. Else only boxes near
// each other in a grid are compared: where few overlap, all pairs at once.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <optional>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "box_columns.h"
#include "box_grid.h"
#include "label_groups.h"
#include "overlapping_pairs.h"
#include "ranked_boxes.h"
#include "ranking.h"
#include "sort.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Every box against every one that stays: right for any input whatever.
template <typename T>
void suppress_plainly(const RankedBoxes<T>& boxes, T threshold, uint8_t* stays) {
  std::vector<Box<T>> kept;
  for (int64_t i = 0; i < boxes.count; ++i) {
    Box<T> box = boxes[i];
    T own_area = area(box);
    stays[i] = std::none_of(kept.begin(), kept.end(), [&](const Box<T>& other) {
      return overlaps(other, area(other), box, own_area, threshold);
    });
    if (stays[i]) kept.push_back(box);
  }
}

// While so few boxes stay, each of the others is compared with all of them.
constexpr int64_t few = 256;
// With so many boxes in a cell of the grid, comparing all of them is more work than comparing with those that stay.
constexpr double crowded = 8;

// Decides from box `begin` on, until `most` boxes have stayed, block by block: a block is first compared with what
// stayed before it, side by side, and then within itself, one after the other, which is little where few stay.
// Returns the number of the first box that is not decided.
template <typename Kept>
int64_t suppress_by_blocks(int64_t begin, int64_t count, int64_t most, Kept& kept, uint8_t* stays) {
  while (begin < count && kept.count() < most) {
    int64_t end = std::min(count, begin + std::max<int64_t>(64, 3 * begin)), known = kept.count();
    torch::stable::parallel_for(
        begin, end, 1024, [&](int64_t first, int64_t last) { kept.compare(first, last, stays); });
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
void suppress_ordinary(const RankedBoxes<T>& ranked, T threshold, uint8_t* stays) {
  BoxColumns<T> first_kept(ranked, threshold);
  int64_t count = ranked.count, decided = suppress_by_blocks(0, count, few, first_kept, stays);
  if (decided == count) return;
  std::vector<Box<T>> boxes = ranked.copy();
  BoxGrid<T> grid(boxes, threshold);
  if (grid.crowding() < crowded) return suppress_by_pairs(grid, stays);
  KeptInGrid<T> kept(grid);
  for (int64_t i = 0; i < decided; ++i) {
    if (stays[i]) kept.add(i);
  }
  suppress_by_blocks(decided, count, count, kept, stays);
}

// Where so many boxes are ranked, it may be worth not to rank those that the best suppress.
constexpr int64_t many = 4096;

// A key that about one in sixteen comes before.
template <typename Key>
Key key_of_best(const std::vector<Keyed<Key>>& items) {
  constexpr int64_t samples = 256;
  int64_t count = items.size();
  std::vector<Key> keys(samples);
  for (int64_t i = 0; i < samples; ++i) keys[i] = items[i * count / samples].key;
  std::nth_element(keys.begin(), keys.begin() + samples / 16, keys.end());
  return keys[samples / 16];
}

// Drops those of the items that the best boxes suppress, where few of the best stay: the others are then compared as
// they lie in memory, and only those that are left need be ranked. The boxes must be ordinary and not empty.
template <typename Key, typename T>
void drop_suppressed(std::vector<Keyed<Key>>& items, const Box<T>* boxes, T threshold) {
  Key cut = key_of_best(items);
  std::vector<Keyed<Key>> best;
  std::copy_if(items.begin(), items.end(), std::back_inserter(best), [&](const auto& item) { return item.key < cut; });
  std::vector<int32_t> order = ranking(best);
  int64_t best_count = order.size(), count = items.size();
  BoxColumns<T> kept({boxes, order.data(), best_count}, threshold);
  std::vector<uint8_t> best_stays(best_count), stays(count);
  if (best_count == 0 || suppress_by_blocks(0, best_count, few, kept, best_stays.data()) < best_count) return;
  torch::stable::parallel_for(0, count, 2048, [&](int64_t first, int64_t last) {
    kept.compare(boxes + first, last - first, &stays[first]);
  });
  for (int64_t i = 0; i < best_count; ++i) stays[order[i]] = best_stays[i];
  std::erase_if(items, [&](const Keyed<Key>& item) { return !stays[item.value]; });
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

// What kinds of boxes there are, which tells how they can be compared.
struct Kinds {
  bool all_ordinary = true, none_empty = true;

  bool usual() const { return all_ordinary && none_empty; }
};

template <typename Boxes>
Kinds kinds_of(const Boxes& boxes, int64_t count) {
  std::atomic<bool> all_ordinary = true, none_empty = true;
  torch::stable::parallel_for(0, count, 16384, [&](int64_t first, int64_t last) {
    Kinds own;
    for (int64_t i = first; i < last; ++i) {
      own.all_ordinary &= is_ordinary(boxes[i]);
      own.none_empty &= !is_empty(boxes[i]);
    }
    if (!own.all_ordinary) all_ordinary = false;
    if (!own.none_empty) none_empty = false;
  });
  return {all_ordinary, none_empty};
}

// The boxes of one class, best first; `stays` gets 1 for each that stays, 0 for the others.
template <typename T>
void suppress(const RankedBoxes<T>& boxes, const Kinds& kinds, T threshold, uint8_t* stays) {
  if (threshold < 0 || !kinds.all_ordinary) return suppress_plainly(boxes, threshold, stays);
  if (kinds.none_empty) return suppress_ordinary(boxes, threshold, stays);
  std::vector<int32_t> sized;
  std::copy_if(boxes.order, boxes.order + boxes.count, std::back_inserter(sized), [&](int32_t index) {
    return !is_empty(boxes.boxes[index]);
  });
  std::vector<uint8_t> sized_stays(sized.size());
  RankedBoxes<T> sized_boxes{boxes.boxes, sized.data(), static_cast<int64_t>(sized.size())};
  suppress_ordinary(sized_boxes, threshold, sized_stays.data());
  auto next = sized_stays.begin();
  for (int64_t i = 0; i < boxes.count; ++i) stays[i] = is_empty(boxes[i]) ? 1 : *next++;
}

// Each class by itself: large ones one after the other, the others side by side.
template <typename T>
void suppress_groups(
    const RankedBoxes<T>& boxes, const LabelGroups& groups, const Kinds& kinds, T threshold, uint8_t* stays) {
  int64_t group_count = groups.count();
  int64_t large = std::max<int64_t>(4096, boxes.count / torch::stable::get_num_threads());
  auto suppress_group = [&](int64_t group) {
    int64_t size = groups.size(group);
    const int32_t* members = &groups.members[groups.bounds[group]];
    std::vector<int32_t> order(size);
    std::vector<uint8_t> group_stays(size);
    for (int64_t i = 0; i < size; ++i) order[i] = boxes.order[members[i]];
    RankedBoxes<T> group_boxes{boxes.boxes, order.data(), size};
    suppress(group_boxes, kinds.usual() ? kinds : kinds_of(group_boxes, size), threshold, group_stays.data());
    for (int64_t i = 0; i < size; ++i) stays[members[i]] = group_stays[i];
  };
  auto is_large = [&](int64_t group) { return groups.size(group) > large; };
  for (int64_t group = 0; group < group_count; ++group) {
    if (is_large(group)) suppress_group(group);
  }
  constexpr int64_t boxes_per_task = 1000;
  int64_t groups_per_task = 1 + group_count * boxes_per_task / boxes.count;
  torch::stable::parallel_for(0, group_count, groups_per_task, [&](int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      if (!is_large(group)) suppress_group(group);
    }
  });
}

// Boxes whose label is this take no part.
constexpr int64_t no_label = INT64_MIN;

template <typename T, typename S>
Tensor survivors(const Tensor& tensor, const Tensor& scores, const int64_t* labels, bool all, double iou_threshold) {
  int64_t count = tensor.size(0);
  const Box<T>* boxes = reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
  T threshold = threshold_as<T>(iou_threshold);
  Kinds kinds = kinds_of(boxes, count);
  std::vector<Keyed<KeyOf<S>>> items = keyed(scores.const_data_ptr<S>(), count);
  if (!all) std::erase_if(items, [labels](const auto& item) { return labels[item.value] == no_label; });
  if (!labels && count >= many && threshold >= 0 && kinds.all_ordinary) drop_suppressed(items, boxes, threshold);

  std::vector<int32_t> order = ranking(items);
  std::vector<uint8_t> stays(order.size());
  RankedBoxes<T> ranked{boxes, order.data(), static_cast<int64_t>(order.size())};
  if (labels && ranked.count > 0) {
    LabelGroups groups = group_by_label(ranked.count, [&](int64_t rank) { return labels[order[rank]]; });
    suppress_groups(ranked, groups, kinds, threshold, stays.data());
  } else {
    suppress(ranked, kinds, threshold, stays.data());
  }

  int64_t kept_count = std::count(stays.begin(), stays.end(), 1);
  Tensor kept = torch::stable::new_empty(tensor, {kept_count}, ScalarType::Long);
  int64_t *next = kept.mutable_data_ptr<int64_t>(), *end = next + kept_count;
  for (int64_t rank = 0; next != end; ++rank) {
    *next = order[rank];  // written over where the box does not stay, which is quicker than to ask
    next += stays[rank];
  }
  return kept;
}

// `all`: whether every box takes part.
Tensor nms_of_some(Tensor boxes, Tensor scores, std::optional<Tensor> labels, bool all, double iou_threshold) {
  boxes = as_contiguous(boxes);
  scores = as_contiguous(scores);
  STD_TORCH_CHECK(boxes.size(0) <= INT32_MAX, "nms: more than 2^31 boxes");
  if (labels) labels = as_contiguous(*labels);
  const int64_t* label_data = labels ? labels->const_data_ptr<int64_t>() : nullptr;
  bool double_boxes = boxes.scalar_type() == ScalarType::Double;
  bool double_scores = scores.scalar_type() == ScalarType::Double;
  auto choose = double_boxes ? (double_scores ? survivors<double, double> : survivors<double, float>)
                             : (double_scores ? survivors<float, double> : survivors<float, float>);
  return choose(boxes, scores, label_data, all, iou_threshold);
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  return nms_of_some(boxes, scores, labels, true, iou_threshold);
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

// A number for each label of each image, as small as possible, so that sorting by it is quick; `no_label` for a box of
// no image. Returns whether there is none of these.
bool number_groups(const int64_t* image_of, const int64_t* label_of, int64_t count, int64_t images, int64_t* groups) {
  auto label = [label_of](int64_t i) { return label_of ? int64_t(static_cast<int32_t>(label_of[i])) : 0; };
  int64_t least = INT32_MAX, most = INT32_MIN;
  bool all = true;
  for (int64_t i = 0; i < count; ++i) {
    if (!is_image(image_of[i], images)) {
      all = false;
      continue;
    }
    least = std::min(least, label(i));
    most = std::max(most, label(i));
  }
  for (int64_t i = 0; i < count; ++i) {
    groups[i] = is_image(image_of[i], images) ? image_of[i] * (most - least + 1) + label(i) - least : no_label;
  }
  return all;
}

std::tuple<Tensor, Tensor> batched_nms_padded(
    Tensor boxes, Tensor scores, Tensor image_index, std::optional<Tensor> labels, double iou_threshold, int64_t images,
    int64_t count) {
  image_index = as_contiguous(image_index);
  if (labels) labels = as_contiguous(*labels);
  const int64_t* image_of = image_index.const_data_ptr<int64_t>();
  const int64_t* label_of = labels ? labels->const_data_ptr<int64_t>() : nullptr;
  Tensor groups = torch::stable::empty_like(image_index);
  bool all = number_groups(image_of, label_of, boxes.size(0), images, groups.mutable_data_ptr<int64_t>());

  Tensor kept = nms_of_some(boxes, scores, groups, all, iou_threshold);
  Tensor padded = torch::stable::new_empty(kept, {images, count});
  Tensor numbers = torch::stable::new_zeros(kept, {images});
  int64_t *out = padded.mutable_data_ptr<int64_t>(), *number = numbers.mutable_data_ptr<int64_t>();
  std::fill_n(out, images * count, -1);
  const int64_t* best_first = kept.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < kept.size(0); ++i) {
    int64_t image = image_of[best_first[i]];
    if (number[image] < count) out[image * count + number[image]++] = best_first[i];
  }
  return {padded, numbers};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
  m.impl("batched_nms_padded", TORCH_BOX(&batched_nms_padded));
}

}  // namespace detkit
