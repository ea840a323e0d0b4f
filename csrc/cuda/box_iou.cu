// Pairwise overlap of boxes on CUDA: a thread for each pair, and for the gradient a block for each box.
#include "../box_iou.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <OverlapMode mode, typename T>
__global__ void fill_kernel(const Box<T>* rows, const Box<T>* columns, int64_t pairs, int64_t column_count, T* out) {
  for (int64_t i = first_item(); i < pairs; i += item_stride()) {
    Box<T> row = rows[i / column_count], column = columns[i % column_count];
    constexpr bool needs_slant = mode == OverlapMode::ciou;
    out[i] = overlap<mode>(row, needs_slant ? slant(row) : T(0), column, needs_slant ? slant(column) : T(0));
  }
}

// The strides are those of the weights: from box to box, and from other to other.
template <OverlapMode mode, typename T>
__global__ void gradient_kernel(
    const Box<T>* boxes, const Box<T>* others, int64_t other_count, const T* weights, int64_t box_stride,
    int64_t other_stride, T* out) {
  __shared__ T sums[4][threads_per_block];
  Box<T> box = boxes[blockIdx.x];
  T sum[4] = {};
  for (int64_t i = threadIdx.x; i < other_count; i += blockDim.x) {
    T weight = weights[blockIdx.x * box_stride + i * other_stride];
    if (weight == T(0)) continue;
    Dual<T> dual = overlap_with_gradient<mode>(box, others[i]);
    for (int j = 0; j < 4; ++j) sum[j] += weight * dual.partial[j];
  }
  for (int j = 0; j < 4; ++j) sums[j][threadIdx.x] = sum[j];
  for (int half = threads_per_block / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      for (int j = 0; j < 4; ++j) sums[j][threadIdx.x] += sums[j][threadIdx.x + half];
    }
  }
  __syncthreads();
  if (threadIdx.x < 4) out[blockIdx.x * int64_t(4) + threadIdx.x] = sums[threadIdx.x][0];
}

template <typename T>
const Box<T>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
}

template <typename T>
void fill(const Tensor& boxes1, const Tensor& boxes2, const std::string& mode, Tensor& result) {
  int64_t pairs = result.numel();
  if (pairs == 0) return;
  with_mode(mode, [&]<OverlapMode constant>() {
    fill_kernel<constant><<<blocks_for(pairs), threads_per_block, 0, stream_of(result)>>>(
        boxes_of<T>(boxes1), boxes_of<T>(boxes2), pairs, boxes2.size(0), result.mutable_data_ptr<T>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

// The gradient of `boxes`; `swapped` when the weights are given the other way round, (others, boxes).
template <typename T>
void fill_gradient(
    const Tensor& gradient, const Tensor& boxes, const Tensor& others, const std::string& mode, bool swapped,
    Tensor& result) {
  int64_t count = boxes.size(0), other_count = others.size(0);
  if (count == 0) return;
  with_mode(mode, [&]<OverlapMode constant>() {
    gradient_kernel<constant><<<static_cast<unsigned>(count), threads_per_block, 0, stream_of(result)>>>(
        boxes_of<T>(boxes), boxes_of<T>(others), other_count, gradient.const_data_ptr<T>(), swapped ? 1 : other_count,
        swapped ? count : 1, result.mutable_data_ptr<T>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  });
}

Tensor box_iou(Tensor boxes1, Tensor boxes2, std::string mode) {
  torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  boxes1 = torch::stable::contiguous(boxes1);
  boxes2 = torch::stable::contiguous(boxes2);
  Tensor result = torch::stable::new_empty(boxes1, {boxes1.size(0), boxes2.size(0)});
  bool is_double = boxes1.scalar_type() == ScalarType::Double;
  (is_double ? fill<double> : fill<float>)(boxes1, boxes2, mode, result);
  return result;
}

std::tuple<Tensor, Tensor> box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, std::string mode) {
  torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  gradient = torch::stable::contiguous(gradient);
  boxes1 = torch::stable::contiguous(boxes1);
  boxes2 = torch::stable::contiguous(boxes2);
  Tensor gradient1 = torch::stable::empty_like(boxes1), gradient2 = torch::stable::empty_like(boxes2);
  auto fill = boxes1.scalar_type() == ScalarType::Double ? fill_gradient<double> : fill_gradient<float>;
  fill(gradient, boxes1, boxes2, mode, false, gradient1);
  fill(gradient, boxes2, boxes1, mode, true, gradient2);
  return {gradient1, gradient2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward));
}

}  // namespace detkit
