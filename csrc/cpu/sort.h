// Sorting by integer keys.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace detkit {

template <typename Key>
struct Keyed {
  Key key;
  int32_t value;
};

// Sorts by the lowest bits of the keys; equal ones keep their order. A radix sort by 11 bits at a time, or by 8 where
// going through the digits would take longer than through the items. On one thread: items on their way between the
// caches of two were seen to take longer than the sort.
template <typename Key>
void sort_by_key(std::vector<Keyed<Key>>& items, int bits) {
  int64_t count = items.size();
  int digit_bits = count < 512 ? 8 : 11, digits = 1 << digit_bits;
  std::vector<Keyed<Key>> sorted(count);
  std::vector<int32_t> places(digits);  // where the next item with a digit goes
  for (int shift = 0; shift < bits; shift += digit_bits) {
    auto digit_of = [shift, digits](const Keyed<Key>& item) { return (item.key >> shift) & (digits - 1); };
    std::fill(places.begin(), places.end(), 0);
    for (const Keyed<Key>& item : items) ++places[digit_of(item)];
    std::exclusive_scan(places.begin(), places.end(), places.begin(), 0);
    for (const Keyed<Key>& item : items) sorted[places[digit_of(item)]++] = item;
    items.swap(sorted);
  }
}

}  // namespace detkit
