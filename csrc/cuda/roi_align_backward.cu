// The gradient of RoIAlign on CUDA: a thread walks along rows of samples, and adds to the maps what it has summed up
// for a cell. The sums of half-precision maps are in float.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <type_traits>
#include <vector>

#include "../contiguous.h"
#include "../feature_type.h"
#include "crop.h"
#include "launch.h"
#include "pyramid.h"
#include "vector_atomics.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Sums of a row of samples, kept in registers while the samples lie between the same two columns of the map.
template <typename T, int size>
struct RowOfSums {
  T* low;  // the two rows of the map that the samples lie between
  T* high;
  T low_weight, high_weight;
  int channels;
  int column;  // of the first sums, -1 before there are any
  bool has_next;
  T sums[size], next[size];  // of this column, and of the one after it

  __device__ void add(const KeptSample<T>& sample, const T (&values)[size]) {
    if (sample.low != column) move_to(sample.low);
#pragma unroll
    for (int i = 0; i < size; ++i) sums[i] = fused(sample.low_weight, values[i], sums[i]);
    if (sample.high_weight == T(0)) return;
    has_next = true;
#pragma unroll
    for (int i = 0; i < size; ++i) next[i] = fused(sample.high_weight, values[i], next[i]);
  }

  __device__ void move_to(int to) {
    bool is_next = column >= 0 && to == column + 1;
    if (is_next) {
      flush(column, sums);
    } else {
      finish();
    }
#pragma unroll
    for (int i = 0; i < size; ++i) {
      sums[i] = is_next ? next[i] : T(0);
      next[i] = T(0);
    }
    column = to;
    has_next = false;
  }

  __device__ void finish() const {
    if (column < 0) return;
    flush(column, sums);
    if (has_next) flush(column + 1, next);
  }

  __device__ void flush(int at, const T (&values)[size]) const {
    int64_t offset = int64_t(at) * channels;
    add_scaled(low + offset, values, low_weight);
    add_scaled(high + offset, values, high_weight);
  }

  __device__ static void add_scaled(T* to, const T (&values)[size], T weight) {
    if (weight == T(0)) return;
    T scaled[size];
#pragma unroll
    for (int i = 0; i < size; ++i) scaled[i] = values[i] * weight;
    add_to(to, scaled);
  }
};

template <typename S, typename T, int size, bool always_few>
__global__ void spread_kernel(
    const T* rois, Pyramid<T> pyramid, CropShape shape, CropLanes lanes, const S* gradient) {
  for_each_part(shape, lanes, [&](int64_t index, int first_channel) {
    auto region = sample_region<always_few>(rois + 5 * index, pyramid, shape.height, shape.width);
    int channel = first_channel + lanes.vector() * size;
    if (channel >= shape.channels) return;
    T share = region.share();
    int64_t row_stride = int64_t(region.columns.cells) * shape.channels;
    for (int line = lanes.lane(); line < region.rows.samples * shape.height; line += lanes.lanes()) {
      int y = line / region.rows.samples;
      KeptSample<T> row = region.rows.find(y, line % region.rows.samples);
      if (row.low < 0) continue;
      T* map = region.map + channel;
      RowOfSums<T, size> sums{map + row.low * row_stride, map + row.high * row_stride,
                              row.low_weight * share,     row.high_weight * share,
                              shape.channels,             -1,
                              false,                      {},
                              {}};
      const S* bin = gradient + (index * shape.bins() + y * shape.width) * shape.channels + channel;
      for (int x = 0; x < shape.width; ++x, bin += shape.channels) {
        Vector<S, size> loaded = Vector<S, size>::at(bin);
        T values[size];
#pragma unroll
        for (int i = 0; i < size; ++i) values[i] = static_cast<T>(loaded.values[i]);
        for (int j = 0; j < region.columns.samples; ++j) {
          KeptSample<T> column = region.columns.find(x, j);
          if (column.low >= 0) sums.add(column, values);
        }
      }
      sums.finish();
    }
  });
}

// Calls `visit.template operator()<size>(i)` for the numbers of a map from i on, side by side: vectors, then what is left.
template <int size, typename Visit>
__device__ void for_each_vector(int64_t numbers, const Visit& visit) {
  int64_t vectors = numbers / size;
  for (int64_t i = first_item(); i < vectors; i += item_stride()) visit.template operator()<size>(i * size);
  for (int64_t i = vectors * size + first_item(); i < numbers; i += item_stride()) visit.template operator()<1>(i);
}

// All maps at once.
template <typename T>
__global__ void clear_kernel(Pyramid<T> pyramid) {
  for (int level = 0; level < pyramid.level_count; ++level) {
    T* data = pyramid.levels[level].data;
    for_each_vector<16 / sizeof(T)>(
        pyramid.numbers(level), [&]<int size>(int64_t i) { Vector<T, size>{}.store(data + i); });
  }
}

template <typename S>
__global__ void round_kernel(Pyramid<const float> sums, Pyramid<S> rounded) {
  for (int level = 0; level < sums.level_count; ++level) {
    const float* from = sums.levels[level].data;
    S* to = rounded.levels[level].data;
    for_each_vector<4>(sums.numbers(level), [&]<int size>(int64_t i) {
      auto numbers = Vector<float, size>::at(from + i);
      Vector<S, size> result;
#pragma unroll
      for (int k = 0; k < size; ++k) result.values[k] = static_cast<S>(numbers.values[k]);
      result.store(to + i);
    });
  }
}

// One map of each level's size, with the channels of a cell side by side.
template <typename S>
std::vector<Tensor> new_maps(
    const Tensor& like, const std::vector<int64_t>& heights, const std::vector<int64_t>& widths, bool is_turned,
    Pyramid<S>& pyramid) {
  constexpr ScalarType type = torch::headeronly::CppTypeToScalarType<S>::value;
  std::vector<Tensor> maps;
  for (size_t level = 0; level < heights.size(); ++level) {
    int64_t height = heights[level], width = widths[level];
    maps.push_back(new_tensor(like, {pyramid.batch, pyramid.channels, height, width}, type, is_turned));
    pyramid.levels[level] = {
        maps[level].template mutable_data_ptr<S>(), height, width, pyramid.levels[level].scale};
  }
  return maps;
}

template <typename S>
int64_t numbers_of(const Pyramid<S>& pyramid) {
  int64_t cells = 0;
  for (int level = 0; level < pyramid.level_count; ++level) {
    cells += pyramid.levels[level].height * pyramid.levels[level].width;
  }
  return pyramid.batch * pyramid.channels * cells;
}

// Half-precision gradients are summed in float, and rounded at the end.
template <typename S, typename T>
std::vector<Tensor> spread(
    const Tensor& gradient, const Tensor& rois, const std::vector<int64_t>& heights,
    const std::vector<int64_t>& widths, Pyramid<T> pyramid, const CropShape& shape, bool channels_last) {
  constexpr int most = 16 / sizeof(T);
  bool is_turned = has_channels_apart(gradient, channels_last);
  Tensor crops = with_channels_together(gradient, channels_last);
  cudaStream_t stream = stream_of(gradient);
  std::vector<Tensor> results = new_maps(gradient, heights, widths, channels_last || is_turned, pyramid);
  unsigned blocks = blocks_for(numbers_of(pyramid));
  launch(clear_kernel<T>, blocks, threads_per_block, stream, pyramid);
  const S* data = crops.const_data_ptr<S>();
  with_vectors<most>(has_vectors(data, shape.channels, most), pyramid, shape, [&]<int size, bool always_few>() {
    CropLanes lanes = CropLanes::of(shape, size, 64);
    launch(
        spread_kernel<S, T, size, always_few>, blocks_for(shape, lanes), threads_per_block, stream,
        rois.const_data_ptr<T>(), pyramid, shape, lanes, data);
  });
  if constexpr (!std::is_same_v<S, T>) {
    Pyramid<const float> sums{{}, pyramid.level_count, pyramid.rule, pyramid.batch, pyramid.channels, 0, false};
    Pyramid<S> rounded{{}, pyramid.level_count, pyramid.rule, pyramid.batch, pyramid.channels, 0, false};
    for (int level = 0; level < pyramid.level_count; ++level) {
      const Level<T>& from = pyramid.levels[level];
      sums.levels[level] = {from.data, from.height, from.width, from.scale};
    }
    std::vector<Tensor> rounded_maps = new_maps(gradient, heights, widths, channels_last || is_turned, rounded);
    launch(round_kernel<S>, blocks, threads_per_block, stream, sums, rounded);
    results = rounded_maps;
  }
  if (is_turned) {
    for (Tensor& result : results) result = torch::stable::contiguous(result);
  }
  return results;
}

std::vector<Tensor> roi_align_backward(
    Tensor gradient, Tensor rois, std::vector<double> spatial_scales, double canonical_size, int64_t canonical_level,
    int64_t batch, std::vector<int64_t> heights, std::vector<int64_t> widths, int64_t sampling_ratio, bool aligned,
    bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  LevelRule rule(spatial_scales, canonical_size, canonical_level);
  CropShape shape = CropShape::of(rois.size(0), gradient.size(1), gradient.size(2), gradient.size(3));
  return with_feature_type(gradient.scalar_type(), [&]<typename S, typename T>() {
    auto pyramid = pyramid_of<T>(spatial_scales, rule, batch, shape.channels, sampling_ratio, aligned);
    return spread<S, T>(gradient, rois, heights, widths, pyramid, shape, channels_last);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) { m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward)); }

}  // namespace detkit
