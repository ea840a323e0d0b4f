// Kernels with the faults that the emulation is there to notice, and what it says of each.
#include <cuda_runtime.h>

#include <cstdio>

constexpr int threads = 64;

template <bool has_barrier>
__global__ void reverse(int* numbers) {
  __shared__ int shared[threads];
  shared[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (has_barrier) __syncthreads();
  numbers[threadIdx.x] = shared[threads - 1 - threadIdx.x];
}

__global__ void count_up_from_memory_never_written(int* numbers) {
  __shared__ int count;
  __syncthreads();
  atomicAdd(&count, 1);
  __syncthreads();
  numbers[threadIdx.x] = count - 1 - static_cast<int>(threadIdx.x);
}

__global__ void wait_at_two_places(int*) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void vote_without_some(int*) {
  if (threadIdx.x % 2 == 0) return;
  __ballot_sync(~0u, true);
}

__global__ void do_nothing(int*) {}

void run(const char* name, void (*kernel)(int*), dim3 grid) {
  int numbers[threads] = {}, *pointer = numbers;
  void* arguments[] = {&pointer};
  if (cudaLaunchKernel(kernel, grid, dim3(threads), arguments, 0, nullptr) != cudaSuccess) {
    std::printf("%s: refused\n", name);
    return;
  }
  bool is_right = true;
  for (int i = 0; i < threads; ++i) is_right = is_right && numbers[i] == threads - 1 - i;
  std::printf("%s: %s\n", name, is_right ? "right" : "wrong");
}

int main() {
  run("with a barrier", reverse<true>, 1);
  run("without a barrier", reverse<false>, 1);
  run("memory never written", count_up_from_memory_never_written, 1);
  run("barriers at two places", wait_at_two_places, 1);
  run("a vote without some threads", vote_without_some, 1);
  run("too many blocks", do_nothing, dim3(1, 65536));
}
