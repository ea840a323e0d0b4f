// roi_pool: the greatest feature in every bin of every region, in cells of the map counted whole.
//
//   features       (B, C, H, W) half, bfloat16, float or double; contiguous or channels-last; H * W below 2^31
//   rois           (K, 5) image index, x1 y1 x2 y2 in pixels; double for double features, else float
//   spatial_scale  size of the map over size of the image
//   height, width  bins of a crop
//   channels_last  the memory format of `features`, and of the first result
//   result         (K, C, height, width) of the type of `features`, 0 where a bin has no cell, and
//                  (K, C, height, width), the cell of the map that each number is from, counted row by row; -1 where
//                  there is none. On the CPU int32 in the memory format of `features`; on CUDA channels-last, and int16
//                  where H * W is below 2^15
//
// roi_pool_backward: the gradient of a loss with respect to `features`.
//
//   gradient       (K, C, height, width), contiguous or channels-last as `channels_last` says
//   cells          (K, C, height, width), the second result of roi_pool
//   batch, map_height, map_width  B, H and W
//   result         (B, C, H, W)
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "host_device.h"

namespace detkit {

// What no feature of a bin need be greater than to be taken, as in Caffe's layer: without one it is the result.
template <typename T>
constexpr T least_feature = T(-FLT_MAX);

// A range of rows or columns of the map.
struct CellRange {
  int64_t begin, end;

  DETKIT_HOST_DEVICE bool is_empty() const { return end <= begin; }
};

// One axis of a region on its map.
template <typename T>
struct PoolAxis {
  int64_t start;  // of the region, in cells
  T bin_length;   // in cells

  // The cells of a bin that are on the map. Neighboring bins share the cell that their border goes through.
  DETKIT_HOST_DEVICE CellRange bin(int64_t bin, int64_t cells) const {
    int64_t begin = start + int64_t(floor(T(bin) * bin_length)), end = start + int64_t(ceil(T(bin + 1) * bin_length));
    return {on_map(begin, cells), on_map(end, cells)};
  }

  DETKIT_HOST_DEVICE static int64_t on_map(int64_t cell, int64_t cells) {
    return cell < 0 ? 0 : cell < cells ? cell : cells;
  }
};

// The nearest cell, of two the one away from zero; no farther than is beyond any map.
template <typename T>
DETKIT_HOST_DEVICE int64_t nearest_cell(T position) {
  constexpr T farthest = T(1 << 30);
  if (position > farthest) return 1 << 30;
  if (position < -farthest) return -(1 << 30);
  return int64_t(round(position));
}

// Girshick 2015, section 2.1, quantized as in its code: both ends belong to the region, which has a cell at least.
template <typename T>
DETKIT_HOST_DEVICE PoolAxis<T> pool_axis(T from, T to, T scale, int64_t bins) {
  T first = from * scale, last = to * scale;
  if (first != first || last != last) return {0, T(0)};  // NaN: no cells
  int64_t start = nearest_cell(first), length = nearest_cell(last) - start + 1;
  return {start, T(length < 1 ? 1 : length) / T(bins)};
}

}  // namespace detkit
