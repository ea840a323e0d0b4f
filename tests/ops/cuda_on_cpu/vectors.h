// Vectors of numbers, and what is done with all of their numbers at once.
#pragma once

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

inline float4 atomicAdd(float4* to, float4 value) {
  float4 before = *to;
  *to = {before.x + value.x, before.y + value.y, before.z + value.z, before.w + value.w};
  return before;
}

template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
