// Boxes in an order of their own, best first, without a copy: threads that each read some of them do so in the memory
// that all have in their caches, where a copy would have to travel from the cache of the thread that made it.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <vector>

#include "../box.h"

namespace detkit {

template <typename T>
struct RankedBoxes {
  const Box<T>* boxes;
  const int32_t* order;
  int64_t count;

  const Box<T>& operator[](int64_t rank) const { return boxes[order[rank]]; }

  std::vector<Box<T>> copy() const {
    std::vector<Box<T>> copied(count);
    torch::stable::parallel_for(0, count, 16384, [&](int64_t first, int64_t last) {
      for (int64_t rank = first; rank < last; ++rank) copied[rank] = (*this)[rank];
    });
    return copied;
  }
};

}  // namespace detkit
