// Sorting by integer keys.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace detkit {

template <typename Key>
struct Keyed {
  Key key;
  int32_t value;
};

// Sorts by the lowest bits of the keys; equal ones keep their order. A radix sort by 11 bits at a time, or by 8 where
// going through the digits would take longer than through the items. Each thread counts and moves a part of the items.
template <typename Key>
void sort_by_key(std::vector<Keyed<Key>>& items, int bits) {
  constexpr int64_t fewest_per_part = 4096;
  int64_t count = items.size();
  int digit_bits = count < 512 ? 8 : 11, digits = 1 << digit_bits;
  int64_t threads = torch::stable::get_num_threads();
  int64_t parts = std::clamp<int64_t>(count / fewest_per_part, 1, threads);
  std::vector<Keyed<Key>> sorted(count);
  std::vector<int32_t> places(parts * digits);  // where the next item of a part with a digit goes
  auto for_each_part = [&](const auto& function) {
    torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
      for (int64_t part = first; part < last; ++part) {
        function(&places[part * digits], count * part / parts, count * (part + 1) / parts);
      }
    });
  };
  for (int shift = 0; shift < bits; shift += digit_bits) {
    auto digit_of = [shift, digits](const Keyed<Key>& item) { return (item.key >> shift) & (digits - 1); };
    for_each_part([&](int32_t* place, int64_t begin, int64_t end) {
      std::fill(place, place + digits, 0);
      for (int64_t i = begin; i < end; ++i) ++place[digit_of(items[i])];
    });
    int32_t next = 0;
    for (int digit = 0; digit < digits; ++digit) {
      for (int64_t part = 0; part < parts; ++part) {
        int32_t size = places[part * digits + digit];
        places[part * digits + digit] = next;
        next += size;
      }
    }
    for_each_part([&](int32_t* place, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sorted[place[digit_of(items[i])]++] = items[i];
    });
    items.swap(sorted);
  }
}

}  // namespace detkit
