// Pairwise overlap of boxes on the CPU, one row of the result at a time.
#include "../box_iou.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "memory.h"
#include "vector.h"

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

// Measured boxes, number by number.
template <typename T>
struct Columns {
  std::vector<T> x1, y1, x2, y2, areas, slants;
};

template <OverlapMode mode, typename T>
Columns<T> columns_of(const Tensor& boxes) {
  int64_t count = boxes.size(0);
  const Box<T>* data = boxes_of<T>(boxes);
  Columns<T> columns;
  for (auto* column : {&columns.x1, &columns.y1, &columns.x2, &columns.y2, &columns.areas, &columns.slants}) {
    column->resize(count);
  }
  for (int64_t i = 0; i < count; ++i) {
    MeasuredBox<T> measures = measured<mode>(data[i]);
    columns.x1[i] = data[i].x1;
    columns.y1[i] = data[i].y1;
    columns.x2[i] = data[i].x2;
    columns.y2[i] = data[i].y2;
    columns.areas[i] = measures.area;
    columns.slants[i] = measures.slant;
  }
  return columns;
}

template <OverlapMode mode, typename T>
DETKIT_EVERY_MACHINE void fill_row(const Box<T>& box, const Columns<T>& columns, T* __restrict out) {
  const T *x1 = columns.x1.data(), *y1 = columns.y1.data(), *x2 = columns.x2.data(), *y2 = columns.y2.data();
  const T *areas = columns.areas.data(), *slants = columns.slants.data();
  MeasuredBox<T> own = measured<mode>(box);
  int64_t count = columns.x1.size();
  for (int64_t i = 0; i < count; ++i) {
    out[i] = overlap<mode>(own, MeasuredBox<T>{{x1[i], y1[i], x2[i], y2[i]}, areas[i], slants[i]});
  }
}

template <typename T>
void fill(const Tensor& boxes1, const Tensor& boxes2, const std::string& mode, Tensor& result) {
  const Box<T>* rows = boxes_of<T>(boxes1);
  int64_t row_count = boxes1.size(0), column_count = boxes2.size(0);
  T* out = result.mutable_data_ptr<T>();
  prefer_large_pages(out, result.numel() * sizeof(T));
  with_mode(mode, [&]<OverlapMode constant>() {
    Columns<T> columns = columns_of<constant, T>(boxes2);
    torch::stable::parallel_for(0, row_count, rows_per_task(column_count), [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) fill_row<constant>(rows[row], columns, out + row * column_count);
    });
  });
}

// The gradient of one box, which `weights` holds with respect to its overlaps, at this stride.
template <OverlapMode mode, typename T>
DETKIT_EVERY_MACHINE void gradient_of_box(
    const Box<T>& box, const Box<T>* others, int64_t count, const T* weights, int64_t stride, T* out) {
  T sum[4] = {};
  for (int64_t i = 0; i < count; ++i) {
    T weight = weights[i * stride];
    if (weight == T(0)) continue;
    Dual<T> dual = overlap_with_gradient<mode>(box, others[i]);
    for (int j = 0; j < 4; ++j) sum[j] += weight * dual.partial[j];
  }
  std::copy(sum, sum + 4, out);
}

// The gradient of `boxes`; `swapped` when the weights are given the other way round, (others, boxes).
template <typename T>
void fill_gradient(
    const Tensor& gradient, const Tensor& boxes, const Tensor& others, const std::string& mode, bool swapped,
    Tensor& result) {
  int64_t count = boxes.size(0), other_count = others.size(0);
  int64_t box_stride = swapped ? 1 : other_count, other_stride = swapped ? count : 1;
  const T* weights = gradient.const_data_ptr<T>();
  T* out = result.mutable_data_ptr<T>();
  with_mode(mode, [&]<OverlapMode constant>() {
    torch::stable::parallel_for(0, count, rows_per_task(other_count), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        gradient_of_box<constant>(
            boxes_of<T>(boxes)[i], boxes_of<T>(others), other_count, weights + i * box_stride, other_stride,
            out + 4 * i);
      }
    });
  });
}

Tensor box_iou(Tensor boxes1, Tensor boxes2, std::string mode) {
  boxes1 = as_contiguous(boxes1);
  boxes2 = as_contiguous(boxes2);
  Tensor result = torch::stable::new_empty(boxes1, {boxes1.size(0), boxes2.size(0)});
  bool is_double = boxes1.scalar_type() == ScalarType::Double;
  (is_double ? fill<double> : fill<float>)(boxes1, boxes2, mode, result);
  return result;
}

std::tuple<Tensor, Tensor> box_iou_backward(Tensor gradient, Tensor boxes1, Tensor boxes2, std::string mode) {
  gradient = as_contiguous(gradient);
  boxes1 = as_contiguous(boxes1);
  boxes2 = as_contiguous(boxes2);
  Tensor gradient1 = torch::stable::empty_like(boxes1), gradient2 = torch::stable::empty_like(boxes2);
  auto fill = boxes1.scalar_type() == ScalarType::Double ? fill_gradient<double> : fill_gradient<float>;
  fill(gradient, boxes1, boxes2, mode, false, gradient1);
  fill(gradient, boxes2, boxes1, mode, true, gradient2);
  return {gradient1, gradient2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("box_iou", TORCH_BOX(&box_iou));
  m.impl("box_iou_backward", TORCH_BOX(&box_iou_backward));
}

}  // namespace detkit
