// RoIAlign on CUDA: a thread for each number of the result, and of the gradient that is spread back. Where a region's
// samples lie is found once for a block, as far as there is room.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cassert>
#include <type_traits>
#include <vector>

#include "../contiguous.h"
#include "../feature_type.h"
#include "crop.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int most_levels = 8;
constexpr int most_samples = 64;  // of all bins of an axis together, that a block keeps

template <typename T>
struct Level {
  T* data;
  int64_t height, width;
  double scale;
};

// All that a kernel must know beside the regions; passed by value.
template <typename T>
struct Pyramid {
  Level<T> levels[most_levels];
  int level_count;
  int64_t batch, sampling_ratio;
  bool aligned;
  CropShape shape;
};

// A sample that a block keeps, in 16 bytes where T is float; low is -1 when it counts as zero.
template <typename T>
struct alignas(4 * sizeof(T)) KeptSample {
  int low, high;
  T low_weight, high_weight;
};

template <typename T>
__device__ KeptSample<T> kept_sample(const Axis<T>& axis, int64_t bin, int64_t i, int64_t cells) {
  Sample<T> sample;
  if (!sample_at(axis.position(bin, i), cells, sample)) return {-1, -1, T(0), T(0)};
  return {int(sample.low), int(sample.high), sample.low_weight, sample.high_weight};
}

// Where the samples of one axis of a region lie: in shared memory, as far as there are few. A kernel that knows that
// there are needs no code, and no registers, for the others.
template <typename T, bool always_few>
struct SampledAxis {
  KeptSample<T> samples[most_samples];
  Axis<T> axis;
  int64_t cells;
  bool is_kept;

  // The axis to begin with, then by all threads the samples.
  __device__ void set(const Axis<T>& of_region, int64_t of_map, int bins) {
    axis = of_region;
    cells = of_map;
    is_kept = always_few || of_region.samples * bins <= most_samples;
  }
  __device__ void keep_samples(int bins) {
    if (!is_kept) return;
    int count = int(axis.samples);
    for (int i = threadIdx.x; i < count * bins; i += blockDim.x) {
      samples[i] = kept_sample(axis, i / count, i % count, cells);
    }
  }
  __device__ KeptSample<T> find(int bin, int i) const {
    return always_few || is_kept ? samples[bin * int(axis.samples) + i] : kept_sample(axis, bin, i, cells);
  }
};

// A region on its map.
template <typename S, typename T, bool always_few>
struct SampledRegion {
  SampledAxis<T, always_few> rows, columns;
  S* map;  // of the region's image
  int64_t width;
};

template <typename S, typename T, bool always_few>
__device__ void sample_region(
    const T* rois, const int64_t* region_levels, const Pyramid<S>& pyramid, int64_t region,
    SampledRegion<S, T, always_few>& sampled) {
  __syncthreads();  // until all are done with the region before
  if (threadIdx.x == 0) {
    const T* roi = rois + 5 * region;
    int64_t image = int64_t(roi[0]), level_index = region_levels[region];
    assert(roi[0] >= T(0) && image < pyramid.batch && "rois names an image that is not there");
    assert(level_index >= 0 && level_index < pyramid.level_count && "levels names a level that is not there");
    const Level<S>& level = pyramid.levels[level_index];
    const CropShape& shape = pyramid.shape;
    T scale = T(level.scale);
    sampled.rows.set(
        region_axis(roi[2], roi[4], scale, shape.height, pyramid.sampling_ratio, pyramid.aligned), level.height,
        shape.height);
    sampled.columns.set(
        region_axis(roi[1], roi[3], scale, shape.width, pyramid.sampling_ratio, pyramid.aligned), level.width,
        shape.width);
    sampled.map = level.data + image * shape.channels * level.height * level.width;
    sampled.width = level.width;
  }
  __syncthreads();
  sampled.rows.keep_samples(pyramid.shape.height);
  sampled.columns.keep_samples(pyramid.shape.width);
  __syncthreads();
}

// Calls `visit(number, weight)` for every number of the map that a number of the crop takes part of, which is the
// weights' average over the samples.
template <typename S, typename T, bool always_few, typename Visit>
__device__ void for_each_tap(
    const SampledRegion<S, T, always_few>& region, const CropShape& shape, const CropNumber& at, const Visit& visit) {
  int row_samples = int(region.rows.axis.samples), column_samples = int(region.columns.axis.samples);
  int64_t stride = shape.channels_last ? shape.channels : 1;  // from cell to cell
  int64_t row_stride = region.width * stride;
  S* map = region.map + (shape.channels_last ? at.channel : at.channel * region.rows.cells * region.width);
  for (int i = 0; i < row_samples; ++i) {
    KeptSample<T> row = region.rows.find(at.y, i);
    if (row.low < 0) continue;
    S* low = map + row.low * row_stride;
    S* high = map + row.high * row_stride;
    for (int j = 0; j < column_samples; ++j) {
      KeptSample<T> column = region.columns.find(at.x, j);
      if (column.low < 0) continue;
      int64_t left = column.low * stride, right = column.high * stride;
      visit(low + left, row.low_weight * column.low_weight);
      visit(low + right, row.low_weight * column.high_weight);
      visit(high + left, row.high_weight * column.low_weight);
      visit(high + right, row.high_weight * column.high_weight);
    }
  }
}

// What a sample counts in the average over a bin. Without samples there is nothing to count.
template <typename S, typename T, bool always_few>
__device__ T share_of_sample(const SampledRegion<S, T, always_few>& region) {
  int64_t samples = region.rows.axis.samples * region.columns.axis.samples;
  return samples > 0 ? T(1) / T(samples) : T(0);
}

template <typename S, typename T, bool always_few>
__global__ void crop_kernel(const T* rois, const int64_t* region_levels, Pyramid<const S> pyramid, S* out) {
  __shared__ SampledRegion<const S, T, always_few> sampled;
  const CropShape& shape = pyramid.shape;
  for_each_number(
      shape, [&](int64_t region) { sample_region(rois, region_levels, pyramid, region, sampled); },
      [&](int64_t region, int number) {
        T sum = 0;
        for_each_tap(sampled, shape, shape.at(number), [&](const S* feature, T weight) {
          sum += weight * static_cast<T>(*feature);
        });
        out[region * shape.numbers() + number] = static_cast<S>(sum * share_of_sample(sampled));
      });
}

template <typename S, typename T, bool always_few>
__global__ void spread_kernel(const T* rois, const int64_t* region_levels, Pyramid<T> pyramid, const S* gradient) {
  __shared__ SampledRegion<T, T, always_few> sampled;
  const CropShape& shape = pyramid.shape;
  for_each_number(
      shape, [&](int64_t region) { sample_region(rois, region_levels, pyramid, region, sampled); },
      [&](int64_t region, int number) {
        T value = static_cast<T>(gradient[region * shape.numbers() + number]) * share_of_sample(sampled);
        for_each_tap(sampled, shape, shape.at(number), [&](T* sum, T weight) {
          if (weight != T(0)) atomicAdd(sum, weight * value);
        });
      });
}

// Whether a block has room for the samples of any region.
template <typename T>
bool are_few(const Pyramid<T>& pyramid) {
  int64_t bins = std::max(pyramid.shape.height, pyramid.shape.width);
  return pyramid.sampling_ratio > 0 && pyramid.sampling_ratio * bins <= most_samples;
}

template <typename S, typename T>
Tensor crop(const std::vector<Tensor>& features, const Tensor& rois, const Tensor& levels, Pyramid<const S> pyramid) {
  for (size_t level = 0; level < features.size(); ++level) {
    const Tensor& maps = features[level];
    pyramid.levels[level].data = maps.const_data_ptr<S>();
    pyramid.levels[level].height = maps.size(2);
    pyramid.levels[level].width = maps.size(3);
  }
  const CropShape& shape = pyramid.shape;
  Tensor result = new_tensor(
      features[0], {shape.regions, shape.channels, shape.height, shape.width}, features[0].scalar_type(),
      shape.channels_last);
  auto kernel = are_few(pyramid) ? crop_kernel<S, T, true> : crop_kernel<S, T, false>;
  launch(
      kernel, blocks_for(shape), threads_per_block, stream_of(result), rois.const_data_ptr<T>(),
      levels.const_data_ptr<int64_t>(), pyramid, result.mutable_data_ptr<S>());
  return result;
}

// Half-precision gradients are summed in float, and rounded at the end.
template <typename S, typename T>
std::vector<Tensor> spread(
    const Tensor& gradient, const Tensor& rois, const Tensor& levels, const std::vector<int64_t>& heights,
    const std::vector<int64_t>& widths, Pyramid<T> pyramid) {
  constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  std::vector<Tensor> results;
  for (size_t level = 0; level < heights.size(); ++level) {
    int64_t height = heights[level], width = widths[level];
    results.push_back(
        new_tensor(gradient, {pyramid.batch, gradient.size(1), height, width}, type, pyramid.shape.channels_last));
    torch::stable::zero_(results.back());
    pyramid.levels[level].data = results.back().template mutable_data_ptr<T>();
    pyramid.levels[level].height = height;
    pyramid.levels[level].width = width;
  }
  auto kernel = are_few(pyramid) ? spread_kernel<S, T, true> : spread_kernel<S, T, false>;
  launch(
      kernel, blocks_for(pyramid.shape), threads_per_block, stream_of(gradient), rois.const_data_ptr<T>(),
      levels.const_data_ptr<int64_t>(), pyramid, gradient.const_data_ptr<S>());
  if constexpr (!std::is_same_v<S, T>) {
    for (Tensor& result : results) result = torch::stable::to(result, gradient.scalar_type());
  }
  return results;
}

template <typename T>
Pyramid<T> pyramid_of(
    const std::vector<double>& scales, int64_t batch, int64_t sampling_ratio, bool aligned, const CropShape& shape) {
  constexpr int64_t most = 1 << 20;
  STD_TORCH_CHECK(sampling_ratio <= most, "sampling_ratio must be at most ", most, ", got ", sampling_ratio);
  int level_count = static_cast<int>(scales.size());
  STD_TORCH_CHECK(level_count <= most_levels, "features has ", level_count, " levels, more than ", most_levels);
  Pyramid<T> pyramid{{}, level_count, batch, sampling_ratio, aligned, shape};
  for (int level = 0; level < level_count; ++level) pyramid.levels[level].scale = scales[level];
  return pyramid;
}

Tensor roi_align(
    std::vector<Tensor> features, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t height,
    int64_t width, int64_t sampling_ratio, bool aligned, bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  levels = as_contiguous(levels);
  CropShape shape = CropShape::of(rois.size(0), features[0].size(1), height, width, channels_last);
  return with_feature_type(features[0].scalar_type(), [&]<typename S, typename T>() {
    return crop<S, T>(
        features, rois, levels,
        pyramid_of<const S>(spatial_scales, features[0].size(0), sampling_ratio, aligned, shape));
  });
}

std::vector<Tensor> roi_align_backward(
    Tensor gradient, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t batch,
    std::vector<int64_t> heights, std::vector<int64_t> widths, int64_t sampling_ratio, bool aligned,
    bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  levels = as_contiguous(levels);
  CropShape shape =
      CropShape::of(rois.size(0), gradient.size(1), gradient.size(2), gradient.size(3), channels_last);
  return with_feature_type(gradient.scalar_type(), [&]<typename S, typename T>() {
    return spread<S, T>(
        gradient, rois, levels, heights, widths,
        pyramid_of<T>(spatial_scales, batch, sampling_ratio, aligned, shape));
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace detkit
