// roi_align: every region cropped from its level of a feature pyramid by averaged bilinear samples.
//
//   features        L maps (B, C, Hl, Wl) of half, bfloat16, float or double; all contiguous, or all channels-last
//   rois            (K, 5) image index, x1 y1 x2 y2 in pixels; double for double features, else float
//   spatial_scales  L numbers, size of the map over size of the image, each half of the one before
//   canonical_size, canonical_level  the side in pixels of the square region that belongs to the map of stride
//                   2^canonical_level; a region of twice the side to the next map
//   height, width   bins of a crop
//   sampling_ratio  samples per bin and axis; when not positive, the length of the bin in cells, rounded up
//   aligned         whether coordinates are shifted by half a cell
//   channels_last   the memory format of `features`, and of the result
//   result          (K, C, height, width) of the type of `features`
//
// roi_align_backward: the gradient of a loss with respect to `features`.
//
//   gradient                (K, C, height, width), contiguous or channels-last as `channels_last` says
//   batch, heights, widths  the shapes of the maps: B, and L numbers each
//   result                  L maps (B, C, Hl, Wl)
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "host_device.h"

namespace detkit {

DETKIT_HOST_DEVICE float square_root(float number) { return sqrtf(number); }
DETKIT_HOST_DEVICE double square_root(double number) { return sqrt(number); }
DETKIT_HOST_DEVICE float binary_logarithm(float number) { return log2f(number); }
DETKIT_HOST_DEVICE double binary_logarithm(double number) { return log2(number); }

// Which map of a pyramid a region is cropped from, by its size: Lin et al. 2017, equation 1.
struct LevelRule {
  double canonical_size;
  int64_t canonical_level;
  double finest, coarsest;  // binary logarithms of the strides

  LevelRule(const std::vector<double>& scales, double canonical_size, int64_t canonical_level)
      : canonical_size(canonical_size), canonical_level(canonical_level), finest(0), coarsest(0) {
    if (scales.empty()) return;
    finest = octave(scales.front());
    coarsest = octave(scales.back());
  }

  // Within the exponents of doubles: scales of 0, infinity or NaN have no whole number.
  static double octave(double scale) { return fmax(-1100.0, fmin(1100.0, floor(1e-6 - log2(scale)))); }

  // The small constant keeps a side of exactly canonical_size on its own level.
  template <typename T>
  DETKIT_HOST_DEVICE int64_t level_of(const T* roi) const {
    T side = square_root((roi[3] - roi[1]) * (roi[4] - roi[2]));
    T level = T(canonical_level) + binary_logarithm(side / T(canonical_size)) + T(1e-6);
    if (!(level >= T(finest))) return 0;  // also where the region is inverted
    return int64_t(level < T(coarsest) ? floor(level) : T(coarsest)) - int64_t(finest);
  }
};

// One axis of a region on its map: where the samples of every bin lie.
template <typename T>
struct Axis {
  T start;       // of the region, in cells
  T bin_length;  // in cells
  int64_t samples;

  DETKIT_HOST_DEVICE T position(int64_t bin, int64_t sample) const {
    return start + T(bin) * bin_length + (T(sample) + T(0.5)) * bin_length / T(samples);
  }
};

template <typename T>
DETKIT_HOST_DEVICE Axis<T> region_axis(T from, T to, T scale, int64_t bins, int64_t sampling_ratio, bool aligned) {
  T shift = aligned ? T(0.5) : T(0);
  T start = from * scale - shift, length = (to * scale - shift) - start;
  if (!aligned && !(length > T(1))) length = T(1);
  T bin_length = length / T(bins);
  int64_t samples = sampling_ratio;
  // A length that is negative, not finite or beyond any map gets no samples, and so a crop of zeros.
  if (sampling_ratio <= 0) samples = bin_length > T(0) && bin_length < T(1e6) ? int64_t(ceil(bin_length)) : 0;
  return {start, bin_length, samples};
}

// The two cells that a sample lies between, and how much it takes of each. A sample more than one cell outside of
// the map counts as zero; one that is less far outside takes the border's value.
template <typename T>
struct Sample {
  int64_t low, high;
  T low_weight, high_weight;
};

template <typename T>
DETKIT_HOST_DEVICE bool sample_at(T position, int64_t cells, Sample<T>& sample) {
  if (!(position >= T(-1) && position <= T(cells))) return false;
  if (position < T(0)) position = T(0);
  sample.low = int64_t(position);
  if (sample.low >= cells - 1) {
    sample = {cells - 1, cells - 1, T(1), T(0)};
    return true;
  }
  sample.high = sample.low + 1;
  sample.high_weight = position - T(sample.low);
  sample.low_weight = T(1) - sample.high_weight;
  return true;
}

}  // namespace detkit
