// Nearest points on CUDA: a thread for each query of an object, whose points pass through shared memory.
#include "../nearest_neighbors.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "../contiguous.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int queries_per_block = 128;  // few, so that 5,000 queries occupy many multiprocessors
constexpr int tile_size = 256;  // points that a block holds at once
constexpr unsigned most_objects = 65535;  // blocks in the second dimension of a grid

// Aligned, so that every thread reads a point at once.
template <typename T>
struct alignas(16) Point {
  T x, y, z;
};

template <typename T>
__device__ Point<T> point_at(const T* coordinates, int64_t row) {
  return {coordinates[3 * row], coordinates[3 * row + 1], coordinates[3 * row + 2]};
}

template <typename T>
__global__ void __launch_bounds__(queries_per_block) search_kernel(
    const T* queries, const T* points, const int64_t* point_counts, int64_t objects, int query_count, int most,
    int64_t* result) {
  __shared__ Point<T> tile[tile_size];
  int query = static_cast<int>(blockIdx.x) * queries_per_block + static_cast<int>(threadIdx.x);
  for (int64_t object = blockIdx.y; object < objects; object += gridDim.y) {
    int count = static_cast<int>(count_within(point_counts[object], most));
    int64_t place = object * query_count + query;
    Point<T> own{};
    if (query < query_count) own = point_at(queries, place);
    T least = std::numeric_limits<T>::infinity();
    int nearest = 0;
    for (int begin = 0; begin < count; begin += tile_size) {
      int size = count - begin < tile_size ? count - begin : tile_size;
      __syncthreads();
      for (int i = threadIdx.x; i < size; i += queries_per_block) {
        tile[i] = point_at(points, object * most + begin + i);
      }
      __syncthreads();
      for (int i = 0; i < size; ++i) {
        T distance = squared_length(own.x - tile[i].x, own.y - tile[i].y, own.z - tile[i].z);
        if (distance < least) least = distance, nearest = begin + i;
      }
    }
    if (query < query_count) result[place] = count > 0 ? nearest : -1;
  }
}

template <typename T>
void search_all(const Tensor& queries, const Tensor& points, const Tensor& point_counts, Tensor& result) {
  int64_t objects = queries.size(0), query_count = queries.size(1);
  if (objects == 0 || query_count == 0) return;
  int64_t across = (query_count + queries_per_block - 1) / queries_per_block;
  dim3 blocks(static_cast<unsigned>(across), static_cast<unsigned>(std::min<int64_t>(objects, most_objects)));
  launch(
      search_kernel<T>, blocks, queries_per_block, stream_of(queries), queries.const_data_ptr<T>(),
      points.const_data_ptr<T>(), point_counts.const_data_ptr<int64_t>(), objects, static_cast<int>(query_count),
      static_cast<int>(points.size(1)), result.mutable_data_ptr<int64_t>());
}

Tensor nearest_neighbors(Tensor queries, Tensor points, Tensor point_counts) {
  torch::stable::accelerator::DeviceGuard guard(queries.get_device_index());
  check_clouds(queries, points, point_counts);
  queries = as_contiguous(queries);
  points = as_contiguous(points);
  point_counts = as_contiguous(point_counts);
  Tensor result = torch::stable::new_empty(queries, {queries.size(0), queries.size(1)}, ScalarType::Long);
  bool is_double = queries.scalar_type() == ScalarType::Double;
  (is_double ? search_all<double> : search_all<float>)(queries, points, point_counts, result);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) { m.impl("nearest_neighbors", TORCH_BOX(&nearest_neighbors)); }

}  // namespace detkit
