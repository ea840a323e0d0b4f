// Sorting on the device.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/shim_utils.h>

#include <array>
#include <optional>

namespace detkit {

struct Sorted {
  torch::stable::Tensor values, indices;  // both (N,); indices int64
};

// Equal values (N,) stay in their order; NaN counts as the greatest. (torch's headers have this call from 2.15 on.)
inline Sorted stable_sort(const torch::stable::Tensor& values, bool descending) {
  using torch::stable::Tensor;
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 4> stack{
      from(values), from(std::optional<bool>(true)), from(int64_t(0)), from(descending)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

}  // namespace detkit
