// Which regions of a label map touch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace detkit {

// Each pair of regions that share a border of pixels, diagonal ones too, once, the smaller label first; in order.
inline std::vector<std::pair<int32_t, int32_t>> adjacent_regions(
    const int32_t* labels, int64_t height, int64_t width) {
  std::vector<std::pair<int32_t, int32_t>> pairs;
  auto touch = [&](int32_t a, int32_t b) {
    if (a != b) pairs.emplace_back(std::min(a, b), std::max(a, b));
  };
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const int32_t* pixel = labels + y * width + x;
      if (x + 1 < width) touch(*pixel, pixel[1]);
      if (y + 1 == height) continue;
      touch(*pixel, pixel[width]);
      if (x > 0) touch(*pixel, pixel[width - 1]);
      if (x + 1 < width) touch(*pixel, pixel[width + 1]);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

}  // namespace detkit
