// The order of boxes by their scores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "sort.h"

namespace detkit {

// An unsigned integer that orders as the scores do, best first.
inline uint32_t descending_key(float score) {
  uint32_t bits;
  score += 0.0f;  // -0 becomes 0
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 31 ? bits : ~(bits | 0x80000000u);
}
inline uint64_t descending_key(double score) {
  uint64_t bits;
  score += 0.0;
  std::memcpy(&bits, &score, sizeof bits);
  return bits >> 63 ? bits : ~(bits | 0x8000000000000000u);
}

template <typename T>
using KeyOf = decltype(descending_key(T(0)));

// The scores' keys and indices.
template <typename T>
std::vector<Keyed<KeyOf<T>>> keyed(const T* scores, int64_t count) {
  std::vector<Keyed<KeyOf<T>>> items(count);
  for (int64_t i = 0; i < count; ++i) items[i] = {descending_key(scores[i]), static_cast<int32_t>(i)};
  return items;
}

// The indices of the items, best first, equal ones in their order.
template <typename Key>
std::vector<int32_t> ranking(std::vector<Keyed<Key>>& items) {
  sort_by_key(items, 8 * sizeof(Key));
  std::vector<int32_t> order(items.size());
  std::transform(items.begin(), items.end(), order.begin(), [](const Keyed<Key>& item) { return item.value; });
  return order;
}

}  // namespace detkit
