// As much of CUDA as the kernels of csrc/cuda need, on the CPU: their tests then run where there is no GPU. The threads
// of a block take turns as fibers, each running until it waits for the others; blocks run one after the other.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost };

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

namespace cuda_on_cpu {

constexpr size_t stack_size = 64 * 1024;

// One block of threads.
class Block {
 public:
  Block(unsigned threads, const std::function<void()>& kernel) : kernel_(kernel), fibers_(threads), running_(threads) {
    for (Fiber& fiber : fibers_) fiber.stack.resize(stack_size);
  }

  void run() {
    current_block = this;
    running_ = fibers_.size();
    arrived_ = 0;
    for (Fiber& fiber : fibers_) {
      fiber.is_done = false;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = fiber.stack.size();
      fiber.context.uc_link = &scheduler_;
      makecontext(&fiber.context, &Block::run_fiber, 0);
    }
    while (running_ > 0) {
      for (size_t thread = 0; thread < fibers_.size(); ++thread) {
        if (fibers_[thread].is_done) continue;
        current_ = thread;
        threadIdx.x = static_cast<unsigned>(thread);
        swapcontext(&scheduler_, &fibers_[thread].context);
      }
    }
  }

  // Until all threads that have not returned have come here.
  void wait() {
    int64_t round = round_;
    if (++arrived_ == running_) {
      next_round();
    } else {
      while (round_ == round) swapcontext(&fibers_[current_].context, &scheduler_);
    }
  }

  static inline Block* current_block = nullptr;

 private:
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool is_done = false;
  };

  static void run_fiber() {
    Block& block = *current_block;
    block.kernel_();
    block.fibers_[block.current_].is_done = true;
    if (--block.running_ == block.arrived_ && block.arrived_ > 0) block.next_round();
  }

  void next_round() {
    arrived_ = 0;
    ++round_;
  }

  const std::function<void()>& kernel_;
  std::vector<Fiber> fibers_;
  ucontext_t scheduler_;
  size_t current_ = 0, running_, arrived_ = 0;
  int64_t round_ = 0;
};

template <typename... Parameters, size_t... which>
std::function<void()> bind(void (*kernel)(Parameters...), void** arguments, std::index_sequence<which...>) {
  return [=] { kernel(*static_cast<Parameters*>(arguments[which])...); };
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::Block::current_block->wait(); }

template <typename... Parameters>
cudaError_t cudaLaunchKernel(
    void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments, size_t, cudaStream_t) {
  std::function<void()> bound = cuda_on_cpu::bind(kernel, arguments, std::index_sequence_for<Parameters...>());
  cuda_on_cpu::Block threads(block.x, bound);
  blockDim = block;
  gridDim = grid;
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) threads.run();
  }
  return cudaSuccess;
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
  *to = value < before ? value : before;
  return before;
}
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
