// RoIPool on CUDA: a thread for each number of the result, and of the gradient that is spread back.
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

// The maps (B, C, H, W), contiguous or channels-last as the crops are.
template <typename T>
struct Maps {
  T* data;
  int64_t batch, channels, height, width;
  bool channels_last;

  // Where a channel of an image begins; its cells are `cell_stride` apart.
  __device__ T* channel(int64_t image, int64_t channel) const {
    int64_t cells = height * width;
    return data + image * channels * cells + (channels_last ? channel : channel * cells);
  }
  __device__ int64_t cell_stride() const { return channels_last ? channels : 1; }
};

template <typename T>
__device__ int64_t image_of(const T* rois, int64_t region, int64_t batch) {
  T image = rois[5 * region];
  assert(image >= T(0) && image < T(batch) && "rois names an image that is not there");
  return int64_t(image);
}

template <typename S, typename T>
__global__ void pool_kernel(const T* rois, T scale, CropShape shape, Maps<const S> maps, S* out, int32_t* out_cells) {
  for_each_number(
      shape, [](int64_t) {},
      [&](int64_t region, int number) {
        const T* roi = rois + 5 * region;
        CropNumber at = shape.at(number);
        CellRange rows = pool_axis(roi[2], roi[4], scale, shape.height).bin(at.y, maps.height);
        CellRange columns = pool_axis(roi[1], roi[3], scale, shape.width).bin(at.x, maps.width);
        const S* channel = maps.channel(image_of(rois, region, maps.batch), at.channel);
        T greatest = rows.is_empty() || columns.is_empty() ? T(0) : least_feature<T>;
        int32_t found = -1;
        for (int64_t row = rows.begin; row < rows.end; ++row) {
          for (int64_t column = columns.begin; column < columns.end; ++column) {
            int64_t cell = row * maps.width + column;
            T feature = static_cast<T>(channel[cell * maps.cell_stride()]);
            if (!(feature > greatest)) continue;
            greatest = feature;
            found = static_cast<int32_t>(cell);
          }
        }
        int64_t offset = region * shape.numbers() + number;
        out[offset] = static_cast<S>(greatest);
        out_cells[offset] = found;
      });
}

template <typename S, typename T>
__global__ void spread_kernel(const S* gradient, const int32_t* cells, const T* rois, CropShape shape, Maps<T> maps) {
  for_each_number(
      shape, [](int64_t) {},
      [&](int64_t region, int number) {
        int64_t offset = region * shape.numbers() + number;
        int64_t cell = cells[offset];
        if (cell < 0) return;
        T* channel = maps.channel(image_of(rois, region, maps.batch), shape.at(number).channel);
        atomicAdd(channel + cell * maps.cell_stride(), static_cast<T>(gradient[offset]));
      });
}

template <typename S, typename T>
std::tuple<Tensor, Tensor> pool(
    const Tensor& features, const Tensor& rois, double spatial_scale, const CropShape& shape) {
  std::initializer_list<int64_t> sizes{shape.regions, shape.channels, shape.height, shape.width};
  Tensor result = new_tensor(features, sizes, features.scalar_type(), shape.channels_last);
  Tensor cells = new_tensor(features, sizes, ScalarType::Int, shape.channels_last);
  Maps<const S> maps{features.const_data_ptr<S>(), features.size(0), features.size(1),
                     features.size(2),             features.size(3), shape.channels_last};
  launch(
      pool_kernel<S, T>, blocks_for(shape), threads_per_block, stream_of(result), rois.const_data_ptr<T>(),
      static_cast<T>(spatial_scale), shape, maps, result.mutable_data_ptr<S>(), cells.mutable_data_ptr<int32_t>());
  return {result, cells};
}

// Half-precision gradients are summed in float, and rounded at the end.
template <typename S, typename T>
Tensor spread(
    const Tensor& gradient, const Tensor& cells, const Tensor& rois, int64_t batch, int64_t height, int64_t width,
    const CropShape& shape) {
  constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  Tensor result = new_tensor(gradient, {batch, shape.channels, height, width}, type, shape.channels_last);
  torch::stable::zero_(result);
  Maps<T> maps{result.mutable_data_ptr<T>(), batch, shape.channels, height, width, shape.channels_last};
  launch(
      spread_kernel<S, T>, blocks_for(shape), threads_per_block, stream_of(gradient), gradient.const_data_ptr<S>(),
      cells.const_data_ptr<int32_t>(), rois.const_data_ptr<T>(), shape, maps);
  if constexpr (std::is_same_v<S, T>) return result;
  return torch::stable::to(result, gradient.scalar_type());
}

std::tuple<Tensor, Tensor> roi_pool(
    Tensor features, Tensor rois, double spatial_scale, int64_t height, int64_t width, bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  STD_TORCH_CHECK(features.size(2) * features.size(3) <= INT32_MAX, "roi_pool: a map of more than 2^31 cells");
  rois = as_contiguous(rois);
  CropShape shape = CropShape::of(rois.size(0), features.size(1), height, width, channels_last);
  return with_feature_type(features.scalar_type(), [&]<typename S, typename T>() {
    return pool<S, T>(features, rois, spatial_scale, shape);
  });
}

Tensor roi_pool_backward(
    Tensor gradient, Tensor cells, Tensor rois, int64_t batch, int64_t map_height, int64_t map_width,
    bool channels_last) {
  torch::stable::accelerator::DeviceGuard guard(rois.get_device_index());
  rois = as_contiguous(rois);
  CropShape shape =
      CropShape::of(rois.size(0), gradient.size(1), gradient.size(2), gradient.size(3), channels_last);
  return with_feature_type(gradient.scalar_type(), [&]<typename S, typename T>() {
    return spread<S, T>(gradient, cells, rois, batch, map_height, map_width, shape);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace detkit
