// As much of CUDA as the kernels of csrc/cuda need, on the CPU: their tests then run where there is no GPU. Threads and
// blocks run one after the other, in an order that is drawn, and what a device refuses is refused here too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <utility>

#include "block.h"
#include "vectors.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static thread_local
#define __forceinline__ inline
#define __launch_bounds__(...)

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

namespace cuda_on_cpu {

template <typename... Parameters, size_t... which>
std::function<void()> bind(void (*kernel)(Parameters...), void** arguments, std::index_sequence<which...>) {
  return [=] { kernel(*static_cast<Parameters*>(arguments[which])...); };
}

inline bool can_launch(const dim3& grid, const dim3& block) {
  bool has_grid = grid.x >= 1 && grid.x <= INT32_MAX && grid.y >= 1 && grid.y <= 65535 && grid.z == 1;
  return has_grid && block.x >= 1 && block.x <= 1024 && block.y == 1 && block.z == 1;
}

}  // namespace cuda_on_cpu

inline void __syncthreads(std::source_location at = std::source_location::current()) {
  cuda_on_cpu::Block::current_block->wait(at);
}

// The threads of a warp must all come here, which is what a kernel's mask of ones says.
inline unsigned __ballot_sync(unsigned, bool answer, std::source_location at = std::source_location::current()) {
  const uint64_t* answers = cuda_on_cpu::Block::current_block->exchange(answer, at);
  unsigned bits = 0;
  for (size_t lane = 0; lane < cuda_on_cpu::warp_size; ++lane) bits |= static_cast<unsigned>(answers[lane]) << lane;
  return bits;
}
inline int __shfl_up_sync(
    unsigned, int value, unsigned distance, std::source_location at = std::source_location::current()) {
  cuda_on_cpu::Block& block = *cuda_on_cpu::Block::current_block;
  const uint64_t* values = block.exchange(static_cast<unsigned>(value), at);
  return block.lane() < distance ? value : static_cast<int>(values[block.lane() - distance]);
}

template <typename... Parameters>
cudaError_t cudaLaunchKernel(
    void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, size_t, cudaStream_t) {
  static_assert((sizeof(Parameters) + ...) <= 4096, "a kernel takes no more bytes of parameters");
  if (!cuda_on_cpu::can_launch(grid, block)) return cudaErrorInvalidConfiguration;
  std::function<void()> bound = cuda_on_cpu::bind(kernel, arguments, std::index_sequence_for<Parameters...>());
  cuda_on_cpu::Random random;
  cuda_on_cpu::Block threads(block.x, random, bound);
  cuda_on_cpu::Order blocks(uint64_t(grid.x) * grid.y, random);
  cuda_on_cpu::fault = nullptr;
  cuda_on_cpu::poison_shared_memory();
  blockDim = block;
  gridDim = grid;
  for (uint64_t i = 0; i < uint64_t(grid.x) * grid.y; ++i) {
    blockIdx.x = static_cast<unsigned>(blocks[i] % grid.x);
    blockIdx.y = static_cast<unsigned>(blocks[i] / grid.x);
    threads.run();
  }
  return cuda_on_cpu::fault ? cudaErrorLaunchFailure : cudaSuccess;
}

template <typename T>
T atomicAdd(T* to, T value) {
  T before = *to;
  *to += value;
  return before;
}
template <typename T>
T atomicOr(T* to, T value) {
  T before = *to;
  *to |= value;
  return before;
}
template <typename T>
T atomicMax(T* to, T value) {
  T before = *to;
  *to = value > before ? value : before;
  return before;
}
template <typename T>
T atomicMin(T* to, T value) {
  T before = *to;
  *to = std::min(before, value);
  return before;
}
inline int __clzll(long long bits) { return bits == 0 ? 64 : __builtin_clzll(bits); }
inline unsigned __float_as_uint(float number) {
  unsigned bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
