// Tensors whose elements lie one after the other, as the kernels read them.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace detkit {

// The tensor itself where it is contiguous: a call of torch's operation takes longer than some kernels.
inline torch::stable::Tensor as_contiguous(const torch::stable::Tensor& tensor) {
  return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor);
}

}  // namespace detkit
