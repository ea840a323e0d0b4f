// Pairwise overlap of boxes on the CPU, one row of the result at a time.
#include "../box_iou.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// So many pairs are worth a thread.
constexpr int64_t pairs_per_task = 32768;

int64_t rows_per_task(int64_t columns) { return std::max<int64_t>(1, pairs_per_task / std::max<int64_t>(1, columns)); }

template <typename T>
const Box<T>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
}

template <typename T>
void fill(const Tensor& boxes1, const Tensor& boxes2, OverlapMode mode, Tensor& result) {
  const Box<T>*rows = boxes_of<T>(boxes1), *columns = boxes_of<T>(boxes2);
  int64_t row_count = boxes1.size(0), column_count = boxes2.size(0);
  T* out = result.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, row_count, rows_per_task(column_count), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      for (int64_t column = 0; column < column_count; ++column) {
        out[row * column_count + column] = overlap(rows[row], columns[column], mode);
      }
    }
  });
}

// The gradient of the rows' boxes; `swapped` when the gradient is given the other way round, (columns, rows).
template <typename T>
void fill_gradient(
    const Tensor& gradient, const Tensor& boxes1, const Tensor& boxes2, OverlapMode mode, bool swapped, Tensor& result) {
  const Box<T>*rows = boxes_of<T>(boxes1), *columns = boxes_of<T>(boxes2);
  int64_t row_count = boxes1.size(0), column_count = boxes2.size(0);
  const T* weights = gradient.const_data_ptr<T>();
  T* out = result.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, row_count, rows_per_task(column_count), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      T sum[4] = {};
      for (int64_t column = 0; column < column_count; ++column) {
        T weight = weights[swapped ? column * row_count + row : row * column_count + column];
        if (weight == T(0)) continue;
        Dual<T> dual = overlap_with_gradient(rows[row], columns[column], mode);
        for (int i = 0; i < 4; ++i) sum[i] += weight * dual.partial[i];
      }
      std::copy(sum, sum + 4, out + 4 * row);
    }
  });
}

Tensor box_iou(Tensor boxes1, Tensor boxes2, std::string mode) {
  boxes1 = torch::stable::contiguous(boxes1);
  boxes2 = torch::stable::contiguous(boxes2);
  Tensor result = torch::stable::new_empty(boxes1, {boxes1.size(0), boxes2.size(0)});
  bool is_double = boxes1.scalar_type() == ScalarType::Double;
  (is_double ? fill<double> : fill<float>)(boxes1, boxes2, overlap_mode(mode), result);
  return result;
}

std::tuple<Tensor, Tensor> box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, std::string mode) {
  gradient = torch::stable::contiguous(gradient);
  boxes1 = torch::stable::contiguous(boxes1);
  boxes2 = torch::stable::contiguous(boxes2);
  Tensor gradient1 = torch::stable::empty_like(boxes1), gradient2 = torch::stable::empty_like(boxes2);
  auto fill = boxes1.scalar_type() == ScalarType::Double ? fill_gradient<double> : fill_gradient<float>;
  fill(gradient, boxes1, boxes2, overlap_mode(mode), false, gradient1);
  fill(gradient, boxes2, boxes1, overlap_mode(mode), true, gradient2);
  return {gradient1, gradient2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward));
}

}  // namespace detkit
