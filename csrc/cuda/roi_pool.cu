// RoIPool on CUDA. The channels of a cell lie side by side, so that a thread compares 16 bytes of them at once; maps
// that are stored otherwise are turned first.
#include "../roi_pool.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cassert>
#include <tuple>
#include <type_traits>

#include "../contiguous.h"
#include "../feature_type.h"
#include "crop.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Maps (B, H, W, C).
template <typename T>
struct Maps {
  T* data;
  int64_t batch, channels, height, width;

  // That of the region's image.
  template <typename U>
  __device__ T* of(const U* roi) const {
    assert(roi[0] >= U(0) && roi[0] < U(batch) && "rois names an image that is not there");
    return data + int64_t(roi[0]) * height * width * channels;
  }
};

// The greatest features of a bin, and their cells; `map` begins with the thread's first channel.
template <typename S, typename T, typename Cell, int size>
__device__ void find_greatest(
    const S* map, int64_t map_width, int64_t channels, const CellRange& rows, const CellRange& columns,
    Vector<S, size>& greatest, Vector<Cell, size>& cells) {
  T best[size];
#pragma unroll
  for (int i = 0; i < size; ++i) {
    best[i] = rows.is_empty() || columns.is_empty() ? T(0) : least_feature<T>;
    cells.values[i] = Cell(-1);
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      int64_t cell = row * map_width + column;
      auto features = Vector<S, size>::at(map + cell * channels);
#pragma unroll
      for (int i = 0; i < size; ++i) {
        T feature = static_cast<T>(features.values[i]);
        if (!(feature > best[i])) continue;
        best[i] = feature;
        cells.values[i] = static_cast<Cell>(cell);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < size; ++i) greatest.values[i] = static_cast<S>(best[i]);
}

template <typename S, typename T, typename Cell, int size, bool is_turned>
__global__ void pool_kernel(
    const T* rois, T scale, Maps<const S> maps, CropShape shape, CropLanes lanes, CropsOut<S> out, Cell* out_cells) {
  for_each_part(shape, lanes, [&](int64_t region, int first_channel) {
    const T* roi = rois + 5 * region;
    const S* map = maps.of(roi);
    PoolAxis<T> rows = pool_axis(roi[2], roi[4], scale, shape.height);
    PoolAxis<T> columns = pool_axis(roi[1], roi[3], scale, shape.width);
    fill_part<S, size, is_turned>(shape, lanes, region, first_channel, out, [&](int bin, int channel) {
      Vector<S, size> greatest;
      Vector<Cell, size> cells;
      find_greatest<S, T>(
          map + channel, maps.width, maps.channels, rows.bin(bin / shape.width, maps.height),
          columns.bin(bin % shape.width, maps.width), greatest, cells);
      cells.store(out_cells + (region * shape.bins() + bin) * shape.channels + channel);
      return greatest;
    });
  });
}

template <typename S, typename T, typename Cell, int size>
__global__ void spread_kernel(
    const S* gradient, const Cell* cells, const T* rois, Maps<T> maps, CropShape shape, CropLanes lanes) {
  for_each_part(shape, lanes, [&](int64_t region, int first_channel) {
    int channel = first_channel + lanes.vector() * size;
    if (channel >= shape.channels) return;
    T* map = maps.of(rois + 5 * region) + channel;
    for (int bin = lanes.lane(); bin < shape.bins(); bin += lanes.lanes()) {
      int64_t offset = (region * shape.bins() + bin) * shape.channels + channel;
      auto values = Vector<S, size>::at(gradient + offset);
      auto from = Vector<Cell, size>::at(cells + offset);
#pragma unroll
      for (int i = 0; i < size; ++i) {
        if (from.values[i] < 0) continue;
        atomicAdd(map + int64_t(from.values[i]) * maps.channels + i, static_cast<T>(values.values[i]));
      }
    }
  });
}

// Calls `run` with the type of cells' numbers: of half the size for the maps that most regions are cropped from.
template <typename Run>
void with_cell_type(const Tensor& cells, const Run& run) {
  if (cells.scalar_type() == ScalarType::Short) return run.template operator()<int16_t>();
  run.template operator()<int32_t>();
}

ScalarType cell_type(int64_t map_cells) { return map_cells <= INT16_MAX ? ScalarType::Short : ScalarType::Int; }

template <typename S, typename T>
std::tuple<Tensor, Tensor> pool(
    const Tensor& features, const Tensor& rois, double spatial_scale, const CropShape& shape, bool channels_last) {
  constexpr int most = 16 / sizeof(S);
  Tensor together = with_channels_together(features, channels_last);
  const S* data = together.const_data_ptr<S>();
  Maps<const S> maps{data, features.size(0), features.size(1), features.size(2), features.size(3)};
  std::initializer_list<int64_t> sizes{shape.regions, shape.channels, shape.height, shape.width};
  Tensor result = new_tensor(features, sizes, features.scalar_type(), channels_last);
  Tensor cells = new_tensor(features, sizes, cell_type(maps.height * maps.width), true);
  bool is_turned = has_channels_apart(result, channels_last);
  auto start = [&]<typename Cell, int size>() {
    CropLanes lanes = CropLanes::of(shape, size, 32);
    auto out = CropsOut<S>::of(result.mutable_data_ptr<S>(), shape, lanes, is_turned);
    auto kernel = is_turned ? pool_kernel<S, T, Cell, size, true> : pool_kernel<S, T, Cell, size, false>;
    launch(
        kernel, blocks_for(shape, lanes), threads_per_block, stream_of(result), rois.const_data_ptr<T>(),
        static_cast<T>(spatial_scale), maps, shape, lanes, out, cells.mutable_data_ptr<Cell>());
  };
  with_cell_type(cells, [&]<typename Cell>() {
    if (has_vectors(data, shape.channels, most)) return start.template operator()<Cell, most>();
    start.template operator()<Cell, 1>();
  });
  return {result, cells};
}

// Half-precision gradients are summed in float, and rounded at the end.
template <typename S, typename T>
Tensor spread(
    const Tensor& gradient, const Tensor& cells, const Tensor& rois, int64_t batch, int64_t height, int64_t width,
    const CropShape& shape, bool channels_last) {
  constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  constexpr int most = 16 / sizeof(T);
  bool is_turned = has_channels_apart(gradient, channels_last);
  Tensor crops = with_channels_together(gradient, channels_last);
  Tensor result = new_tensor(gradient, {batch, shape.channels, height, width}, type, channels_last || is_turned);
  torch::stable::zero_(result);
  Maps<T> maps{result.mutable_data_ptr<T>(), batch, shape.channels, height, width};
  const S* data = crops.const_data_ptr<S>();
  auto start = [&]<typename Cell, int size>() {
    CropLanes lanes = CropLanes::of(shape, size, 64);
    launch(
        spread_kernel<S, T, Cell, size>, blocks_for(shape, lanes), threads_per_block, stream_of(gradient), data,
        cells.const_data_ptr<Cell>(), rois.const_data_ptr<T>(), maps, shape, lanes);
  };
  with_cell_type(cells, [&]<typename Cell>() {
    bool vectors = has_vectors(data, shape.channels, most) &&
                   has_vectors(cells.const_data_ptr<Cell>(), shape.channels, most);
    if (vectors) return start.template operator()<Cell, most>();
    start.template operator()<Cell, 1>();
  });
  if constexpr (!std::is_same_v<S, T>) result = torch::stable::to(result, gradient.scalar_type());
  return is_turned ? torch::stable::contiguous(result) : result;
}

std::tuple<Tensor, Tensor> roi_pool(
    Tensor features, Tensor rois, double spatial_scale, int64_t height, int64_t width, bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  STD_TORCH_CHECK(features.size(2) * features.size(3) <= INT32_MAX, "roi_pool: a map of more than 2^31 cells");
  rois = as_contiguous(rois);
  CropShape shape = CropShape::of(rois.size(0), features.size(1), height, width);
  return with_feature_type(features.scalar_type(), [&]<typename S, typename T>() {
    return pool<S, T>(features, rois, spatial_scale, shape, channels_last);
  });
}

Tensor roi_pool_backward(
    Tensor gradient, Tensor cells, Tensor rois, int64_t batch, int64_t map_height, int64_t map_width,
    bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  CropShape shape = CropShape::of(rois.size(0), gradient.size(1), gradient.size(2), gradient.size(3));
  return with_feature_type(gradient.scalar_type(), [&]<typename S, typename T>() {
    return spread<S, T>(gradient, cells, rois, batch, map_height, map_width, shape, channels_last);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace detkit
