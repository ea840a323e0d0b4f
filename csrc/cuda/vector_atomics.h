// Sums in memory that threads share, of several numbers at once where the device can.
#pragma once

#include <cuda_runtime.h>

namespace detkit {

#if !defined(DETKIT_VECTOR_ATOMICS)  // the tests set it
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define DETKIT_VECTOR_ATOMICS 1
#else
#define DETKIT_VECTOR_ATOMICS 0
#endif
#endif

template <typename T, int size>
__device__ void add_to(T* sums, const T (&values)[size]) {
#pragma unroll
  for (int i = 0; i < size; ++i) atomicAdd(sums + i, values[i]);
}

#if DETKIT_VECTOR_ATOMICS
// `sums` must be aligned to 16 bytes.
__device__ inline void add_to(float* sums, const float (&values)[4]) {
  atomicAdd(reinterpret_cast<float4*>(sums), make_float4(values[0], values[1], values[2], values[3]));
}
#endif

}  // namespace detkit
