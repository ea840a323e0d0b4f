// label_confusion: how often each class of a map was given each class of another.
//
//   truth    (...) uint8, int16, int32 or int64, the class of each pixel; a pixel that is none of 0..T-1 does not count
//   answer   of the same shape and type
//   rows     T, the number of classes of the truth
//   columns  A, that of the answer
//   result   (T, A + 1) int64; the last column counts answers that are none of 0..A-1
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <type_traits>

#include "host_device.h"

namespace detkit {

// Where pixels are counted: a row for each class of the truth and one for all else, and likewise columns.
struct ConfusionTable {
  int64_t rows, columns;

  DETKIT_HOST_DEVICE int64_t stride() const { return columns + 1; }
  DETKIT_HOST_DEVICE int64_t size() const { return (rows + 1) * stride(); }

  // The place of a pixel. As unsigned numbers, negative labels are greater than all classes.
  template <typename Label>
  DETKIT_HOST_DEVICE int64_t cell(Label truth, Label answer) const {
    auto row = static_cast<uint64_t>(static_cast<std::make_unsigned_t<Label>>(truth));
    auto column = static_cast<uint64_t>(static_cast<std::make_unsigned_t<Label>>(answer));
    row = row < static_cast<uint64_t>(rows) ? row : static_cast<uint64_t>(rows);
    column = column < static_cast<uint64_t>(columns) ? column : static_cast<uint64_t>(columns);
    return static_cast<int64_t>(row * static_cast<uint64_t>(stride()) + column);
  }
};

constexpr int64_t most_classes = 1 << 12;  // so that a table of 128 MB is the largest

inline void check_maps(
    const torch::stable::Tensor& truth, const torch::stable::Tensor& answer, int64_t rows, int64_t columns) {
  STD_TORCH_CHECK(truth.scalar_type() == answer.scalar_type(), "truth and answer must be of one dtype");
  STD_TORCH_CHECK(truth.dim() == answer.dim(), "truth and answer must be of one shape");
  for (int64_t axis = 0; axis < truth.dim(); ++axis) {
    STD_TORCH_CHECK(truth.size(axis) == answer.size(axis), "truth and answer must be of one shape");
  }
  STD_TORCH_CHECK(0 <= rows && rows <= most_classes, "rows must be from 0 to ", most_classes);
  STD_TORCH_CHECK(0 <= columns && columns <= most_classes, "columns must be from 0 to ", most_classes);
}

// Calls `function.template operator()<Label>()` with the type of labels.
template <typename Function>
void with_label_type(torch::headeronly::ScalarType type, const Function& function) {
  using torch::headeronly::ScalarType;
  switch (type) {
    case ScalarType::Byte:
      return function.template operator()<uint8_t>();
    case ScalarType::Short:
      return function.template operator()<int16_t>();
    case ScalarType::Int:
      return function.template operator()<int32_t>();
    case ScalarType::Long:
      return function.template operator()<int64_t>();
    default:
      STD_TORCH_CHECK(false, "labels must be uint8, int16, int32 or int64");
  }
}

}  // namespace detkit
