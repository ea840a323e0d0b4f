// paste_masks: masks stretched over their boxes and thresholded, each in an image that is otherwise empty.
// paste_masks_to_runs: the same, run-length encoded (rle.h).
//
//   masks          (N, M, M) float or double, probabilities
//   boxes          (N, 4) int64 within +-2^31, x1 y1 x2 y2 of the pixels that a mask with a border of one zero all
//                  around is stretched over, the last ones included
//   counts, heights, widths  of each image of a batch: its masks, which come image after image, and its size
//   threshold      a pixel is inside where its probability is greater; not negative
//   fused          whether products are added without being rounded before
//   fused_places   whether this is so also of the places in float that are not computed in one step
//   result         (P,) bool, the pixels of each mask after those of the mask before, or counts and offsets
//
// The probability of a pixel is that of torch.nn.functional.interpolate(mode="bilinear", align_corners=False) to the
// last bit, so that those near the threshold fall on the same side. torch computes it in two ways by the size of the
// result, and its kernels for AVX2 and AVX-512 fuse the operations as is done here where `fused`; its others do not.
// That is how torch's wheels for x86-64 are compiled, but for `fused_places`, which differs between them. Of one that
// is compiled otherwise, pixels can differ whose probability is the threshold but for rounding.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "host_device.h"
#include "window.h"

namespace detkit {

DETKIT_HOST_DEVICE float round_once(float a, float b, float c) { return fmaf(a, b, c); }
DETKIT_HOST_DEVICE double round_once(double a, double b, double c) { return fma(a, b, c); }

template <bool fused, typename T>
DETKIT_HOST_DEVICE T multiply_add(T a, T b, T c) {
  if constexpr (fused) return round_once(a, b, c);
  return a * b + c;
}

// One axis of a box: a mask of so many cells, border included, is stretched over so many pixels.
template <typename T>
struct Stretch {
  int64_t cells, pixels;
  T scale;

  DETKIT_HOST_DEVICE Stretch(int64_t cells, int64_t first_pixel, int64_t last_pixel)
      : cells(cells),
        pixels(last_pixel >= first_pixel ? last_pixel - first_pixel + 1 : 1),
        scale(T(cells) / T(pixels)) {}
};

// The cells that a pixel lies between, and its weight in each.
template <typename T>
struct Between {
  int32_t low, high;
  T low_weight, high_weight;
};

// Small results are computed in one step from the four cells around the pixel, others first across, then down.
template <typename T>
DETKIT_HOST_DEVICE bool in_one_step(const Stretch<T>& across, const Stretch<T>& down) {
  return across.pixels + down.pixels <= 128;
}

template <bool fused, typename T>
DETKIT_HOST_DEVICE Between<T> between(const Stretch<T>& stretch, int64_t pixel, bool rounds_once) {
  if (stretch.pixels == stretch.cells) {
    int32_t cell = int32_t(pixel);
    return {cell, cell < stretch.cells - 1 ? cell + 1 : cell, T(1), T(0)};
  }
  T middle = T(pixel) + T(0.5);
  // Always in double. And torch looks for the cell in float.
  bool fuses = rounds_once || std::is_same_v<T, double>;
  T position = fuses ? multiply_add<fused>(stretch.scale, middle, T(-0.5)) : stretch.scale * middle - T(0.5);
  if (position < T(0)) position = T(0);
  int32_t low = int32_t(float(position)), last = int32_t(stretch.cells) - 1;
  if (low > last) low = last;
  T high_weight = position - T(low);
  if (high_weight < T(0)) high_weight = T(0);
  if (high_weight > T(1)) high_weight = T(1);
  return {low, low < last ? low + 1 : low, T(1) - high_weight, high_weight};
}

template <bool fused, typename T>
DETKIT_HOST_DEVICE T blend(T low, T low_weight, T high, T high_weight) {
  return multiply_add<fused>(low, low_weight, high * high_weight);
}

// Of the rows and columns that a pixel lies between; `low_high` is the cell in the low row and the high column.
template <bool fused, typename T>
DETKIT_HOST_DEVICE T blend_in_one_step(
    T low_low, T low_high, T high_low, T high_high, const Between<T>& row, T low_weight, T high_weight) {
  T sum = blend<fused>(low_low, row.low_weight * low_weight, low_high, row.low_weight * high_weight);
  sum = multiply_add<fused>(row.high_weight * low_weight, high_low, sum);
  return multiply_add<fused>(row.high_weight * high_weight, high_high, sum);
}

// The part of an image that a box covers.
DETKIT_HOST_DEVICE Window window_of(const int64_t* box, int64_t height, int64_t width) {
  return {
      box[0] > 0 ? box[0] : 0, box[1] > 0 ? box[1] : 0, box[2] + 1 < width ? box[2] + 1 : width,
      box[3] + 1 < height ? box[3] + 1 : height};
}

}  // namespace detkit
