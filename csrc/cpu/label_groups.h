// Boxes grouped by their labels.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "sort.h"

namespace detkit {

// The numbers from 0 on, label by label and in order within each, and where the labels begin and the last ends.
struct LabelGroups {
  std::vector<int32_t> members;
  std::vector<int64_t> bounds;

  int64_t count() const { return static_cast<int64_t>(bounds.size()) - 1; }
  int64_t size(int64_t group) const { return bounds[group + 1] - bounds[group]; }
};

// `label_of` gives the label, an int64, of each number below `count`.
template <typename LabelOf>
LabelGroups group_by_label(int64_t count, const LabelOf& label_of) {
  uint64_t least = UINT64_MAX, most = 0;
  auto unsigned_label = [&](int64_t i) { return static_cast<uint64_t>(label_of(i)) ^ (uint64_t(1) << 63); };
  for (int64_t i = 0; i < count; ++i) {
    least = std::min(least, unsigned_label(i));
    most = std::max(most, unsigned_label(i));
  }
  std::vector<Keyed<uint64_t>> items(count);
  for (int64_t i = 0; i < count; ++i) items[i] = {unsigned_label(i) - least, static_cast<int32_t>(i)};
  if (count > 0) sort_by_key(items, std::bit_width(most - least));

  LabelGroups groups{std::vector<int32_t>(count), {0}};
  for (int64_t i = 0; i < count; ++i) {
    groups.members[i] = items[i].value;
    if (i > 0 && items[i].key != items[i - 1].key) groups.bounds.push_back(i);
  }
  groups.bounds.push_back(count);
  return groups;
}

}  // namespace detkit
