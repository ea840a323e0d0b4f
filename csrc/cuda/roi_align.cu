// RoIAlign on CUDA. The channels of a cell lie side by side, so that a thread reads 16 bytes of them at once; maps that
// are stored otherwise are turned first. Where a region's samples lie is found once for a block.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <vector>

#include "../contiguous.h"
#include "../feature_type.h"
#include "crop.h"
#include "launch.h"
#include "pyramid.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename S, typename T, int size>
__device__ void add_weighted(const Vector<S, size>& features, T weight, T (&sums)[size]) {
#pragma unroll
  for (int i = 0; i < size; ++i) sums[i] = fused(weight, static_cast<T>(features.values[i]), sums[i]);
}

// The average over a bin; `map` begins with the thread's first channel.
template <int size, typename S, typename T, bool always_few>
__device__ Vector<S, size> average_bin(
    const SampledRegion<const S, T, always_few>& region, const S* map, int channels, int y, int x) {
  using Features = Vector<S, size>;
  T sums[size] = {};
  int64_t row_stride = int64_t(region.columns.cells) * channels;
  for (int i = 0; i < region.rows.samples; ++i) {
    KeptSample<T> row = region.rows.find(y, i);
    if (row.low < 0) continue;
    const S *low = map + row.low * row_stride, *high = map + row.high * row_stride;
    for (int j = 0; j < region.columns.samples; ++j) {
      KeptSample<T> column = region.columns.find(x, j);
      if (column.low < 0) continue;
      int64_t left = int64_t(column.low) * channels, right = int64_t(column.high) * channels;
      Features low_left = Features::at(low + left), low_right = Features::at(low + right);
      Features high_left = Features::at(high + left), high_right = Features::at(high + right);
      add_weighted(low_left, row.low_weight * column.low_weight, sums);
      add_weighted(low_right, row.low_weight * column.high_weight, sums);
      add_weighted(high_left, row.high_weight * column.low_weight, sums);
      add_weighted(high_right, row.high_weight * column.high_weight, sums);
    }
  }
  Features average;
  T share = region.share();
#pragma unroll
  for (int i = 0; i < size; ++i) average.values[i] = static_cast<S>(sums[i] * share);
  return average;
}

template <typename S, typename T, int size, bool always_few, bool is_turned>
__global__ void crop_kernel(
    const T* rois, Pyramid<const S> pyramid, CropShape shape, CropLanes lanes, CropsOut<S> out) {
  for_each_part(shape, lanes, [&](int64_t index, int first_channel) {
    auto region = sample_region<always_few>(rois + 5 * index, pyramid, shape.height, shape.width);
    fill_part<S, size, is_turned>(shape, lanes, index, first_channel, out, [&](int bin, int channel) {
      return average_bin<size>(region, region.map + channel, shape.channels, bin / shape.width, bin % shape.width);
    });
  });
}

template <typename S, typename T>
Tensor crop(
    const std::vector<Tensor>& features, const Tensor& rois, Pyramid<const S> pyramid, const CropShape& shape,
    bool channels_last) {
  constexpr int most = 16 / sizeof(S);
  std::vector<Tensor> maps;
  bool vectors = true;
  for (size_t level = 0; level < features.size(); ++level) {
    maps.push_back(with_channels_together(features[level], channels_last));
    const S* data = maps[level].template const_data_ptr<S>();
    vectors = vectors && has_vectors(data, shape.channels, most);
    pyramid.levels[level] = {data, maps[level].size(2), maps[level].size(3), pyramid.levels[level].scale};
  }
  Tensor result = new_tensor(
      features[0], {shape.regions, shape.channels, shape.height, shape.width}, features[0].scalar_type(),
      channels_last);
  bool is_turned = has_channels_apart(result, channels_last);
  with_vectors<most>(vectors, pyramid, shape, [&]<int size, bool always_few>() {
    CropLanes lanes = CropLanes::of(shape, size, 32);
    auto out = CropsOut<S>::of(result.mutable_data_ptr<S>(), shape, lanes, is_turned);
    auto kernel = is_turned ? crop_kernel<S, T, size, always_few, true> : crop_kernel<S, T, size, always_few, false>;
    launch(
        kernel, blocks_for(shape, lanes), threads_per_block, stream_of(result), rois.const_data_ptr<T>(), pyramid,
        shape, lanes, out);
  });
  return result;
}

Tensor roi_align(
    std::vector<Tensor> features, Tensor rois, std::vector<double> spatial_scales, double canonical_size,
    int64_t canonical_level, int64_t height, int64_t width, int64_t sampling_ratio, bool aligned, bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  LevelRule rule(spatial_scales, canonical_size, canonical_level);
  CropShape shape = CropShape::of(rois.size(0), features[0].size(1), height, width);
  return with_feature_type(features[0].scalar_type(), [&]<typename S, typename T>() {
    auto pyramid = pyramid_of<const S>(
        spatial_scales, rule, features[0].size(0), shape.channels, sampling_ratio, aligned);
    return crop<S, T>(features, rois, pyramid, shape, channels_last);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
}

}  // namespace detkit
