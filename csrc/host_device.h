// Marks a function that the CPU and the CUDA kernels share, so that one test covers both.
#pragma once

#if defined(__CUDACC__)
#define DETKIT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DETKIT_HOST_DEVICE inline __attribute__((always_inline))
#endif
