// The maps that RoIAlign reads from or adds to, and where the samples of a region lie on its map.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <vector>

#include "../roi_align.h"
#include "crop.h"

namespace detkit {

constexpr int most_levels = 8;
constexpr int most_samples = 64;  // of all bins of an axis together, that a block keeps

template <typename S>
struct Level {
  S* data;  // (B, H, W, C)
  int64_t height, width;
  double scale;
};

// All that a kernel must know beside the regions; passed by value.
template <typename S>
struct Pyramid {
  Level<S> levels[most_levels];
  int level_count;
  LevelRule rule;
  int64_t batch, channels, sampling_ratio;
  bool aligned;

  __device__ int64_t numbers(int level) const {
    return batch * channels * levels[level].height * levels[level].width;
  }
};

// Rounded once.
__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// A sample that a block keeps, in 16 bytes where T is float; low is -1 when it counts as zero.
template <typename T>
struct alignas(4 * sizeof(T)) KeptSample {
  int low, high;
  T low_weight, high_weight;
};

// Where the samples of one axis of a region lie: in shared memory, as far as there are few. A kernel that knows that
// there are needs no code, and no registers, for the others.
template <typename T, bool always_few>
struct SampledAxis {
  KeptSample<T>* kept;
  Axis<T> axis;
  int samples;  // of a bin
  int cells;
  bool is_kept;

  __device__ SampledAxis(KeptSample<T>* kept, const Axis<T>& axis, int64_t cells, int bins)
      : kept(kept),
        axis(axis),
        samples(int(axis.samples)),
        cells(int(cells)),
        is_kept(always_few || axis.samples * bins <= most_samples) {}

  __device__ KeptSample<T> sample(int bin, int i) const {
    Sample<T> found;
    if (!sample_at(axis.position(bin, i), cells, found)) return {-1, -1, T(0), T(0)};
    return {int(found.low), int(found.high), found.low_weight, found.high_weight};
  }
  __device__ void keep(int bins) const {
    if (!is_kept) return;
    for (int i = threadIdx.x; i < samples * bins; i += blockDim.x) kept[i] = sample(i / samples, i % samples);
  }
  __device__ KeptSample<T> find(int bin, int i) const {
    return always_few || is_kept ? kept[bin * samples + i] : sample(bin, i);
  }
};

// A region on its map.
template <typename S, typename T, bool always_few>
struct SampledRegion {
  SampledAxis<T, always_few> rows, columns;
  S* map;  // of the region's image

  // What a sample counts in the average over a bin. Without samples there is nothing to count.
  __device__ T share() const {
    T samples = T(rows.samples) * T(columns.samples);
    return samples > T(0) ? T(1) / samples : T(0);
  }
};

// By all threads of a block, which know the region then, and share its samples.
template <bool always_few, typename S, typename T>
__device__ SampledRegion<S, T, always_few> sample_region(
    const T* roi, const Pyramid<S>& pyramid, int height, int width) {
  __shared__ KeptSample<T> kept[2][most_samples];
  int64_t image = int64_t(roi[0]);
  assert(roi[0] >= T(0) && image < pyramid.batch && "rois names an image that is not there");
  const Level<S>& level = pyramid.levels[pyramid.rule.level_of(roi)];
  T scale = T(level.scale);
  SampledRegion<S, T, always_few> region{
      {kept[0], region_axis(roi[2], roi[4], scale, height, pyramid.sampling_ratio, pyramid.aligned), level.height,
       height},
      {kept[1], region_axis(roi[1], roi[3], scale, width, pyramid.sampling_ratio, pyramid.aligned), level.width, width},
      level.data + image * pyramid.channels * level.height * level.width};
  __syncthreads();  // until all are done with the region before
  region.rows.keep(height);
  region.columns.keep(width);
  __syncthreads();
  return region;
}

// What the kernels are made for, beside the types: calls `run.template operator()<size, always_few>()`, with vectors of
// `most` channels or single ones.
template <int most, typename S, typename Run>
void with_vectors(bool has_vectors, const Pyramid<S>& pyramid, const CropShape& shape, const Run& run) {
  int64_t bins = std::max(shape.height, shape.width);
  bool are_few = pyramid.sampling_ratio > 0 && pyramid.sampling_ratio * bins <= most_samples;
  if (!has_vectors) return run.template operator()<1, false>();
  if (are_few) return run.template operator()<most, true>();
  run.template operator()<most, false>();
}

template <typename S>
Pyramid<S> pyramid_of(
    const std::vector<double>& scales, const LevelRule& rule, int64_t batch, int64_t channels, int64_t sampling_ratio,
    bool aligned) {
  constexpr int64_t most = 1 << 20;
  STD_TORCH_CHECK(sampling_ratio <= most, "sampling_ratio must be at most ", most, ", got ", sampling_ratio);
  int level_count = static_cast<int>(scales.size());
  STD_TORCH_CHECK(level_count <= most_levels, "features has ", level_count, " levels, more than ", most_levels);
  Pyramid<S> pyramid{{}, level_count, rule, batch, channels, sampling_ratio, aligned};
  for (int level = 0; level < level_count; ++level) pyramid.levels[level].scale = scales[level];
  return pyramid;
}

}  // namespace detkit
