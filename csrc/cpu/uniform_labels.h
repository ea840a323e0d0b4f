// Neighboring pixels of two label maps that are all of one pair of labels.
#pragma once

#include <cstdint>
#include <type_traits>

#include "vector.h"

namespace detkit {

// A label, as often as it fits into a word.
template <typename Label>
DETKIT_INLINE uint64_t repeated(Label label) {
  using Unsigned = std::make_unsigned_t<Label>;
  return static_cast<uint64_t>(static_cast<Unsigned>(label)) * (~uint64_t(0) / static_cast<Unsigned>(-1));
}

// Whether so many pixels from the given ones on are all as these, in both maps.
template <int64_t pixels, typename Label>
DETKIT_INLINE bool are_uniform(const Label* first, const Label* second) {
  static_assert(pixels * sizeof(Label) % sizeof(uint64_t) == 0, "words are compared");
  const uint64_t of_first = repeated(*first), of_second = repeated(*second);
  uint64_t differences = 0;
  for (int64_t i = 0; i < pixels; i += static_cast<int64_t>(sizeof(uint64_t) / sizeof(Label))) {
    differences |= (load<uint64_t>(first + i) ^ of_first) | (load<uint64_t>(second + i) ^ of_second);
  }
  return differences == 0;
}

}  // namespace detkit
