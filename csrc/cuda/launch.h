// What every CUDA kernel's launch needs.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/shim_utils.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace detkit {

constexpr int threads_per_block = 256;

// The stream that torch's own kernels of this device run on at present.
inline cudaStream_t stream_of(const torch::stable::Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Starts a kernel, which must be named with all its template arguments, unless there is no block to start. (The tests
// compile kernels for the CPU as well, where nothing reads the signs <<< and >>>.)
template <typename... Parameters>
void launch(
    void (*kernel)(Parameters...), dim3 blocks, int threads, cudaStream_t stream,
    std::type_identity_t<Parameters>... parameters) {
  if (blocks.x == 0) return;
  void* pointers[] = {const_cast<void*>(static_cast<const void*>(&parameters))...};
  STD_CUDA_CHECK(cudaLaunchKernel(kernel, blocks, dim3(static_cast<unsigned>(threads)), pointers, 0, stream));
}

// Blocks for this many items, whose kernel takes one item per thread and loops over what is left.
inline unsigned blocks_for(int64_t items) {
  constexpr int64_t most = 65536;
  return static_cast<unsigned>(std::min<int64_t>((items + threads_per_block - 1) / threads_per_block, most));
}

// The first item of a thread and the distance to its next.
__device__ __forceinline__ int64_t first_item() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t item_stride() { return int64_t(gridDim.x) * blockDim.x; }

}  // namespace detkit
