// nearest_neighbors: of each query the nearest point of its own object, without a matrix of all distances.
//
//   queries       (N, P, 3) float or double, x y z
//   points        (N, Q, 3) of the same type
//   point_counts  (N,) int64; the points of an object after its count are padding
//   result        (N, P) int64, the row of the nearest point: of equally near ones the first, 0 where no squared
//                 distance is finite, and -1 where the object has no points
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

#include "host_device.h"

namespace detkit {

// What nearest means: the least of these numbers, as they are rounded.
template <typename T>
DETKIT_HOST_DEVICE T squared_length(T x, T y, T z) {
  return x * x + y * y + z * z;
}

// How many of an object's rows are points, whatever number is given.
DETKIT_HOST_DEVICE int64_t count_within(int64_t count, int64_t most) {
  return count < 0 ? 0 : count > most ? most : count;
}

inline void check_clouds(
    const torch::stable::Tensor& queries, const torch::stable::Tensor& points,
    const torch::stable::Tensor& point_counts) {
  STD_TORCH_CHECK(queries.dim() == 3 && queries.size(2) == 3, "queries must have shape (N, P, 3)");
  STD_TORCH_CHECK(
      points.dim() == 3 && points.size(2) == 3 && points.size(0) == queries.size(0),
      "points must have shape (N, Q, 3), of as many objects as the queries");
  STD_TORCH_CHECK(point_counts.numel() == queries.size(0), "point_counts must have a number for each object");
  STD_TORCH_CHECK(points.scalar_type() == queries.scalar_type(), "queries and points must be of one dtype");
  STD_TORCH_CHECK(
      points.size(1) < INT32_MAX && queries.size(1) < INT32_MAX, "nearest_neighbors: more than 2^31 points");
}

}  // namespace detkit
