// RoIAlign on CUDA: a thread for each number of the result, and of the gradient that is spread back.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cassert>
#include <type_traits>
#include <vector>

#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int most_levels = 8;

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
  int64_t batch, channels;
  int64_t height, width, sampling_ratio;
  bool aligned, channels_last;

  // Where a channel of an image lies in a map, and the distance from cell to cell.
  __device__ T* map_of(const Level<T>& level, int64_t image, int64_t channel) const {
    int64_t cells = level.height * level.width;
    return level.data + image * channels * cells + (channels_last ? channel : channel * cells);
  }
  __device__ int64_t cell_stride() const { return channels_last ? channels : 1; }
};

// A number of the result: its region, channel and bin.
struct Item {
  int64_t region, channel, y, x;
};

template <typename T>
__device__ Item item_at(int64_t i, const Pyramid<T>& pyramid) {
  Item item;
  if (pyramid.channels_last) {
    item.channel = i % pyramid.channels;
    i /= pyramid.channels;
  }
  item.x = i % pyramid.width;
  i /= pyramid.width;
  item.y = i % pyramid.height;
  i /= pyramid.height;
  if (!pyramid.channels_last) {
    item.channel = i % pyramid.channels;
    i /= pyramid.channels;
  }
  item.region = i;
  return item;
}

// Calls `visit(number, weight)` for every number of the map that a number of the result takes part of.
template <typename S, typename T, typename Visit>
__device__ void for_each_tap(
    const Item& item, const T* rois, const int64_t* region_levels, const Pyramid<S>& pyramid, const Visit& visit) {
  const T* roi = rois + 5 * item.region;
  int64_t image = int64_t(roi[0]), level_index = region_levels[item.region];
  assert(roi[0] >= T(0) && image < pyramid.batch && "rois names an image that is not there");
  assert(level_index >= 0 && level_index < pyramid.level_count && "levels names a level that is not there");
  const Level<S>& level = pyramid.levels[level_index];
  T scale = T(level.scale);
  Axis<T> down = region_axis(roi[2], roi[4], scale, pyramid.height, pyramid.sampling_ratio, pyramid.aligned);
  Axis<T> across = region_axis(roi[1], roi[3], scale, pyramid.width, pyramid.sampling_ratio, pyramid.aligned);
  S* map = pyramid.map_of(level, image, item.channel);
  int64_t stride = pyramid.cell_stride();
  T share = T(1) / T(down.samples * across.samples);
  for (int64_t i = 0; i < down.samples; ++i) {
    Sample<T> row;
    if (!sample_at(down.position(item.y, i), level.height, row)) continue;
    for (int64_t j = 0; j < across.samples; ++j) {
      Sample<T> column;
      if (!sample_at(across.position(item.x, j), level.width, column)) continue;
      S* low = map + row.low * level.width * stride;
      S* high = map + row.high * level.width * stride;
      visit(low + column.low * stride, row.low_weight * column.low_weight * share);
      visit(low + column.high * stride, row.low_weight * column.high_weight * share);
      visit(high + column.low * stride, row.high_weight * column.low_weight * share);
      visit(high + column.high * stride, row.high_weight * column.high_weight * share);
    }
  }
}

template <typename S, typename T>
__global__ void crop_kernel(
    const T* rois, const int64_t* region_levels, Pyramid<const S> pyramid, int64_t count, S* out) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    T sum = 0;
    for_each_tap(item_at(i, pyramid), rois, region_levels, pyramid, [&](const S* number, T weight) {
      sum += weight * static_cast<T>(*number);
    });
    out[i] = static_cast<S>(sum);
  }
}

template <typename S, typename T>
__global__ void spread_kernel(
    const T* rois, const int64_t* region_levels, Pyramid<T> pyramid, int64_t count, const S* gradient) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    T value = static_cast<T>(gradient[i]);
    for_each_tap(item_at(i, pyramid), rois, region_levels, pyramid, [&](T* number, T weight) {
      if (weight != T(0)) atomicAdd(number, weight * value);
    });
  }
}

Tensor new_tensor(const Tensor& like, std::initializer_list<int64_t> shape, ScalarType type, bool channels_last) {
  return torch::stable::empty(
      shape, type, std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

template <typename S, typename T>
Tensor crop(const std::vector<Tensor>& features, const Tensor& rois, const Tensor& levels, Pyramid<const S> pyramid) {
  for (size_t level = 0; level < features.size(); ++level) {
    const Tensor& maps = features[level];
    pyramid.levels[level].data = maps.const_data_ptr<S>();
    pyramid.levels[level].height = maps.size(2);
    pyramid.levels[level].width = maps.size(3);
  }
  Tensor result = new_tensor(
      features[0], {rois.size(0), pyramid.channels, pyramid.height, pyramid.width}, features[0].scalar_type(),
      pyramid.channels_last);
  int64_t count = result.numel();
  if (count == 0) return result;
  crop_kernel<S, T><<<blocks_for(count), threads_per_block, 0, stream_of(result)>>>(
      rois.const_data_ptr<T>(), levels.const_data_ptr<int64_t>(), pyramid, count, result.mutable_data_ptr<S>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();
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
        new_tensor(gradient, {pyramid.batch, pyramid.channels, height, width}, type, pyramid.channels_last));
    torch::stable::zero_(results.back());
    pyramid.levels[level].data = results.back().template mutable_data_ptr<T>();
    pyramid.levels[level].height = height;
    pyramid.levels[level].width = width;
  }
  int64_t count = gradient.numel();
  if (count > 0) {
    spread_kernel<S, T><<<blocks_for(count), threads_per_block, 0, stream_of(gradient)>>>(
        rois.const_data_ptr<T>(), levels.const_data_ptr<int64_t>(), pyramid, count, gradient.const_data_ptr<S>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  if constexpr (!std::is_same_v<S, T>) {
    for (Tensor& result : results) result = torch::stable::to(result, gradient.scalar_type());
  }
  return results;
}

template <typename T>
Pyramid<T> pyramid_of(
    const std::vector<double>& scales, int64_t batch, int64_t channels, int64_t height, int64_t width,
    int64_t sampling_ratio, bool aligned, bool channels_last) {
  int level_count = static_cast<int>(scales.size());
  STD_TORCH_CHECK(level_count <= most_levels, "features has ", level_count, " levels, more than ", most_levels);
  Pyramid<T> pyramid{{}, level_count, batch, channels, height, width, sampling_ratio, aligned, channels_last};
  for (int level = 0; level < level_count; ++level) pyramid.levels[level].scale = scales[level];
  return pyramid;
}

Tensor roi_align(
    std::vector<Tensor> features, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t height,
    int64_t width, int64_t sampling_ratio, bool aligned, bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = torch::stable::contiguous(rois);
  levels = torch::stable::contiguous(levels);
  auto run = [&]<typename S, typename T>() {
    return crop<S, T>(
        features, rois, levels,
        pyramid_of<const S>(
            spatial_scales, features[0].size(0), features[0].size(1), height, width, sampling_ratio, aligned,
            channels_last));
  };
  switch (features[0].scalar_type()) {
    case ScalarType::Half:
      return run.template operator()<Half, float>();
    case ScalarType::BFloat16:
      return run.template operator()<BFloat16, float>();
    case ScalarType::Double:
      return run.template operator()<double, double>();
    default:
      return run.template operator()<float, float>();
  }
}

std::vector<Tensor> roi_align_backward(
    Tensor gradient, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t batch,
    std::vector<int64_t> heights, std::vector<int64_t> widths, int64_t sampling_ratio, bool aligned,
    bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = torch::stable::contiguous(rois);
  levels = torch::stable::contiguous(levels);
  auto run = [&]<typename S, typename T>() {
    return spread<S, T>(
        gradient, rois, levels, heights, widths,
        pyramid_of<T>(
            spatial_scales, batch, gradient.size(1), gradient.size(2), gradient.size(3), sampling_ratio, aligned,
            channels_last));
  };
  switch (gradient.scalar_type()) {
    case ScalarType::Half:
      return run.template operator()<Half, float>();
    case ScalarType::BFloat16:
      return run.template operator()<BFloat16, float>();
    case ScalarType::Double:
      return run.template operator()<double, double>();
    default:
      return run.template operator()<float, float>();
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace detkit
