// What the kernels that make runs of masks have in common.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "../mask_size.h"

namespace detkit {

using RunLists = std::vector<std::vector<uint32_t>>;

// So many bytes of masks are worth a thread.
constexpr int64_t pixels_per_task = 1 << 18;

// How many of `masks` that are of `size` together are worth a thread.
inline int64_t masks_per_task(int64_t masks, int64_t size, int64_t size_per_task) {
  return std::max<int64_t>(1, masks * size_per_task / std::max<int64_t>(1, size));
}

// Where each of the items begins among `size` others, and where the last ends.
inline const int64_t* checked_offsets(const char* name, const torch::stable::Tensor& offsets, int64_t size) {
  const int64_t* data = offsets.const_data_ptr<int64_t>();
  int64_t count = offsets.numel();
  STD_TORCH_CHECK(
      count > 0 && data[0] == 0 && data[count - 1] == size && std::is_sorted(data, data + count), name,
      " must begin with 0, not fall, and end with ", size);
  return data;
}

// Items of several numbers each, which threads have made, one after another in one tensor; and where each begins.
template <typename Items>
std::tuple<torch::stable::Tensor, torch::stable::Tensor> pack(
    const torch::stable::Tensor& like, const std::vector<Items>& items, torch::headeronly::ScalarType type) {
  using torch::stable::Tensor;
  Tensor offsets = torch::stable::new_empty(
      like, {static_cast<int64_t>(items.size()) + 1}, torch::headeronly::ScalarType::Long);
  int64_t* begins = offsets.mutable_data_ptr<int64_t>();
  begins[0] = 0;
  for (size_t i = 0; i < items.size(); ++i) begins[i + 1] = begins[i] + items[i].size();
  Tensor packed = torch::stable::new_empty(like, {begins[items.size()]}, type);
  using Number = typename Items::value_type;
  Number* out = static_cast<Number*>(packed.mutable_data_ptr());
  for (size_t i = 0; i < items.size(); ++i) std::copy(items[i].begin(), items[i].end(), out + begins[i]);
  return {packed, offsets};
}

}  // namespace detkit
