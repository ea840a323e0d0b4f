// As much of CUDA as the kernels of csrc/cuda need, on the CPU: their tests then run where there is no GPU. The threads
// of a block take turns as fibers, each running until it waits for the others, or for those of its warp; blocks run one
// after the other.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "vectors.h"

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, size);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

namespace cuda_on_cpu {

constexpr size_t stack_size = 64 * 1024, warp_size = 32;

// Threads that wait for each other.
struct Team {
  size_t running = 0, arrived = 0;
  int64_t round = 0;
  uint64_t values[2][warp_size] = {};  // of a warp: what its threads tell each other in this round and in the next

  void begin_next_round_if_all_arrived() {
    if (arrived < running || arrived == 0) return;
    arrived = 0;
    ++round;
  }
};

// One thread. It stays for other blocks and kernels, since it takes longer to begin one than to run most kernels.
struct Fiber {
  ucontext_t context;  // where it begins
  jmp_buf place;       // where it goes on: this saves no signals, and so takes a tenth of the time
  std::unique_ptr<char[]> stack;
  bool has_begun = false, is_done = false;
};

// One block of threads.
class Block {
 public:
  Block(unsigned threads, const std::function<void()>& kernel)
      : kernel_(kernel), threads_(threads), warps_((threads + warp_size - 1) / warp_size) {
    while (fibers_.size() < threads) {
      Fiber& fiber = *fibers_.emplace_back(new Fiber);
      fiber.stack.reset(new char[stack_size]);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = stack_size;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &Block::run_fiber, 0);
    }
  }

  void run() {
    current_block = this;
    all_ = Team{threads_};
    for (size_t warp = 0; warp < warps_.size(); ++warp) {
      warps_[warp] = Team{std::min(warp_size, threads_ - warp * warp_size)};
    }
    for (size_t thread = 0; thread < threads_; ++thread) fibers_[thread]->is_done = false;
    while (all_.running > 0) {
      for (size_t thread = 0; thread < threads_; ++thread) {
        if (!fibers_[thread]->is_done) go_on(thread);
      }
    }
  }

  // Until all threads that have not returned have come here.
  void wait() { wait(all_); }

  // The same within a warp, whose threads get the values of all of them.
  const uint64_t* exchange(uint64_t value) {
    Team& warp = warps_[current_ / warp_size];
    uint64_t* values = warp.values[warp.round % 2];
    values[lane()] = value;
    wait(warp);
    return values;
  }

  size_t lane() const { return current_ % warp_size; }

  static inline Block* current_block = nullptr;

 private:
  void go_on(size_t thread) {
    current_ = thread;
    threadIdx.x = static_cast<unsigned>(thread);
    if (_setjmp(scheduler_) != 0) return;
    Fiber& fiber = *fibers_[thread];
    if (fiber.has_begun) _longjmp(fiber.place, 1);
    fiber.has_begun = true;
    setcontext(&fiber.context);
  }

  void leave() {
    if (_setjmp(fibers_[current_]->place) == 0) _longjmp(scheduler_, 1);
  }

  void wait(Team& team) {
    int64_t round = team.round;
    ++team.arrived;
    team.begin_next_round_if_all_arrived();
    while (team.round == round) leave();
  }

  void end_thread() {
    fibers_[current_]->is_done = true;
    for (Team* team : {&all_, &warps_[current_ / warp_size]}) {
      --team->running;
      team->begin_next_round_if_all_arrived();
    }
    leave();
  }

  static void run_fiber() {
    for (;;) {
      current_block->kernel_();
      current_block->end_thread();
    }
  }

  static inline std::vector<std::unique_ptr<Fiber>> fibers_;

  const std::function<void()>& kernel_;
  size_t threads_, current_ = 0;
  std::vector<Team> warps_;
  Team all_;
  jmp_buf scheduler_;
};

template <typename... Parameters, size_t... which>
std::function<void()> bind(void (*kernel)(Parameters...), void** arguments, std::index_sequence<which...>) {
  return [=] { kernel(*static_cast<Parameters*>(arguments[which])...); };
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::Block::current_block->wait(); }

// The threads of a warp must all come here, which is what a kernel's mask of ones says.
inline unsigned __ballot_sync(unsigned, bool answer) {
  const uint64_t* answers = cuda_on_cpu::Block::current_block->exchange(answer);
  unsigned bits = 0;
  for (size_t lane = 0; lane < cuda_on_cpu::warp_size; ++lane) bits |= static_cast<unsigned>(answers[lane]) << lane;
  return bits;
}
inline int __shfl_up_sync(unsigned, int value, unsigned distance) {
  cuda_on_cpu::Block& block = *cuda_on_cpu::Block::current_block;
  const uint64_t* values = block.exchange(static_cast<unsigned>(value));
  return block.lane() < distance ? value : static_cast<int>(values[block.lane() - distance]);
}

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
inline int __clzll(long long bits) { return bits == 0 ? 64 : __builtin_clzll(bits); }
inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
