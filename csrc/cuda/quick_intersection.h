// What two boxes have in common, by the device's instructions for the smaller and the greater of two numbers. These
// differ from intersection() only where a number is NaN: then the area of its box is NaN as well.
#pragma once

#include <cuda_runtime.h>

#include "../box.h"

namespace detkit {

template <typename T>
__device__ __forceinline__ T quick_intersection(const Box<T>& a, const Box<T>& b) {
  return intersection(a, b);
}
template <>
__device__ __forceinline__ float quick_intersection(const Box<float>& a, const Box<float>& b) {
  float width = fmaxf(0.0f, fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1));
  float height = fmaxf(0.0f, fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1));
  return width * height;
}

}  // namespace detkit
