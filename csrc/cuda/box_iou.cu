// Pairwise overlap of boxes on CUDA: a block for some columns of some rows, and for the gradient one for each box.
#include "../box_iou.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "../contiguous.h"
#include "launch.h"
#include "quick_intersection.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int columns_per_thread = 4;  // side by side
constexpr int columns_per_block = columns_per_thread * threads_per_block;
constexpr int rows_per_block = 16;
constexpr int64_t enough_blocks = 4096;  // to occupy a device

// The overlap as on the CPU, to the last bit. Most boxes have nothing in common, which spares them the division.
template <OverlapMode mode, typename T>
__device__ T overlap_of(const MeasuredBox<T>& a, const MeasuredBox<T>& b) {
  if constexpr (mode != OverlapMode::iou || std::is_same_v<T, double>) return overlap<mode>(a, b);
  T common = quick_intersection(a.box, b.box), joint = a.area + b.area - common;
  if (common > T(0) && joint > T(0)) return common / joint;
  return T(0);
}

// Writes numbers that are not read again soon, in vectors of 16 bytes.
__device__ inline void stream(float* to, const float (&values)[columns_per_thread]) {
  __stcs(reinterpret_cast<float4*>(to), make_float4(values[0], values[1], values[2], values[3]));
}
__device__ inline void stream(double* to, const double (&values)[columns_per_thread]) {
  __stcs(reinterpret_cast<double2*>(to), make_double2(values[0], values[1]));
  __stcs(reinterpret_cast<double2*>(to) + 1, make_double2(values[2], values[3]));
}

// A thread holds a few columns, and goes with them through the rows that are its block's. They lie side by side, so that
// it writes them at once, unless rows of the result begin where no vector can.
template <OverlapMode mode, typename T, bool has_vectors>
__global__ void fill_kernel(
    const Box<T>* rows, const Box<T>* columns, int64_t row_count, int64_t column_count, T* out) {
  __shared__ MeasuredBox<T> kept[rows_per_block];
  MeasuredBox<T> own[columns_per_thread];
  int64_t first_column = int64_t(blockIdx.x) * columns_per_block;
  first_column += has_vectors ? int64_t(threadIdx.x) * columns_per_thread : int64_t(threadIdx.x);
  constexpr int step = has_vectors ? 1 : threads_per_block;
#pragma unroll
  for (int i = 0; i < columns_per_thread; ++i) {
    int64_t column = first_column + i * step;
    own[i] = measured<mode>(columns[column < column_count ? column : column_count - 1]);
  }
  for (int64_t first = int64_t(blockIdx.y) * rows_per_block; first < row_count;
       first += int64_t(gridDim.y) * rows_per_block) {
    int size = row_count - first < rows_per_block ? int(row_count - first) : rows_per_block;
    __syncthreads();  // until all are done with the rows before
    if (threadIdx.x < size) kept[threadIdx.x] = measured<mode>(rows[first + threadIdx.x]);
    __syncthreads();
    T* row = out + first * column_count + first_column;
    for (int r = 0; r < size; ++r, row += column_count) {
      T values[columns_per_thread];
#pragma unroll
      for (int i = 0; i < columns_per_thread; ++i) values[i] = overlap_of<mode>(kept[r], own[i]);
      if constexpr (has_vectors) {
        if (first_column < column_count) stream(row, values);
      } else {
#pragma unroll
        for (int i = 0; i < columns_per_thread; ++i) {
          if (first_column + i * step < column_count) row[i * step] = values[i];
        }
      }
    }
  }
}

// A block sums the gradient of its box over the others; `weights` is (boxes, others).
template <OverlapMode mode, typename T>
__global__ void gradient_kernel(
    const Box<T>* boxes, const Box<T>* others, int64_t other_count, const T* weights, T* out) {
  __shared__ T sums[4][threads_per_block];
  Box<T> box = boxes[blockIdx.x];
  T sum[4] = {};
  for (int64_t i = threadIdx.x; i < other_count; i += blockDim.x) {
    T weight = weights[blockIdx.x * other_count + i];
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
  int64_t row_count = boxes1.size(0), column_count = boxes2.size(0);
  if (result.numel() == 0) return;
  int64_t across = (column_count + columns_per_block - 1) / columns_per_block;
  int64_t down = (row_count + rows_per_block - 1) / rows_per_block;
  down = std::min(down, std::max<int64_t>(1, enough_blocks / across));
  dim3 blocks(static_cast<unsigned>(across), static_cast<unsigned>(down));
  bool has_vectors = column_count % columns_per_thread == 0;
  with_mode(mode, [&]<OverlapMode constant>() {
    auto kernel = has_vectors ? fill_kernel<constant, T, true> : fill_kernel<constant, T, false>;
    launch(
        kernel, blocks, threads_per_block, stream_of(result), boxes_of<T>(boxes1), boxes_of<T>(boxes2), row_count,
        column_count, result.mutable_data_ptr<T>());
  });
}

// The gradient of `boxes`, which `weights` holds with respect to their overlaps with the others.
template <typename T>
void fill_gradient(
    const Tensor& weights, const Tensor& boxes, const Tensor& others, const std::string& mode, Tensor& result) {
  int64_t count = boxes.size(0), other_count = others.size(0);
  STD_TORCH_CHECK(count <= INT32_MAX, "box_iou: more than 2^31 boxes");
  with_mode(mode, [&]<OverlapMode constant>() {
    launch(
        gradient_kernel<constant, T>, static_cast<unsigned>(count), threads_per_block, stream_of(result),
        boxes_of<T>(boxes), boxes_of<T>(others), other_count, weights.const_data_ptr<T>(),
        result.mutable_data_ptr<T>());
  });
}

Tensor box_iou(Tensor boxes1, Tensor boxes2, std::string mode) {
  torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  boxes1 = as_contiguous(boxes1);
  boxes2 = as_contiguous(boxes2);
  Tensor result = torch::stable::new_empty(boxes1, {boxes1.size(0), boxes2.size(0)});
  bool is_double = boxes1.scalar_type() == ScalarType::Double;
  (is_double ? fill<double> : fill<float>)(boxes1, boxes2, mode, result);
  return result;
}

std::tuple<Tensor, Tensor> box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, std::string mode) {
  torch::stable::accelerator::DeviceGuard guard(boxes1.get_device_index());
  gradient = as_contiguous(gradient);
  boxes1 = as_contiguous(boxes1);
  boxes2 = as_contiguous(boxes2);
  Tensor gradient1 = torch::stable::empty_like(boxes1), gradient2 = torch::stable::empty_like(boxes2);
  auto fill = boxes1.scalar_type() == ScalarType::Double ? fill_gradient<double> : fill_gradient<float>;
  fill(gradient, boxes1, boxes2, mode, gradient1);
  // A copy is quicker than reading across the rows.
  Tensor transposed = as_contiguous(torch::stable::transpose(gradient, 0, 1));
  fill(transposed, boxes2, boxes1, mode, gradient2);
  return {gradient1, gradient2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward));
}

}  // namespace detkit
