// The masks of a batch of images, image after image; those of one image have its size.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <vector>

#include "mask_size.h"

namespace detkit {

// The masks of one image, and where they, their columns and their pixels begin among those of the batch.
struct ImageMasks {
  int64_t first_mask, first_column, first_pixel;
  int64_t count, height, width;

  int64_t last_mask() const { return first_mask + count; }
  int64_t last_column() const { return first_column + count * width; }
  int64_t last_pixel() const { return first_pixel + count * height * width; }
};

inline std::vector<ImageMasks> masks_of_images(
    const std::vector<int64_t>& counts, const std::vector<int64_t>& heights, const std::vector<int64_t>& widths,
    int64_t mask_count) {
  STD_TORCH_CHECK(
      counts.size() == heights.size() && counts.size() == widths.size(), "counts, heights and widths must match");
  std::vector<ImageMasks> images;
  ImageMasks next{};
  for (size_t i = 0; i < counts.size(); ++i) {
    check_size(heights[i], widths[i]);
    STD_TORCH_CHECK(counts[i] >= 0, "counts must not be negative");
    next = {next.last_mask(), next.last_column(), next.last_pixel(), counts[i], heights[i], widths[i]};
    images.push_back(next);
  }
  STD_TORCH_CHECK(
      next.last_mask() == mask_count, "counts must sum to the number of masks, ", mask_count, ", got ",
      next.last_mask());
  return images;
}

}  // namespace detkit
