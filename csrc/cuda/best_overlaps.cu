// The best object of each candidate on CUDA: a thread for each candidate of an image. The objects' own best candidates
// are found by a maximum of numbers that hold the overlap and, below it, the candidate: of equal ones the first.
#include "../best_overlaps.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Key = unsigned long long;

constexpr int tile_size = 128;  // objects that a block holds at once
constexpr unsigned most_images = 65535;  // blocks in the second dimension of a grid

struct Problem {
  const Box<float>* candidates;
  const int64_t* images;  // null where all images have the same candidates
  const Box<float>* boxes;
  const int64_t* bounds;
  int64_t candidate_count, object_count, image_count;

  __device__ bool has_image(int64_t image) const { return 0 <= image && image < image_count; }

  // The row at which the objects of an image begin; whatever `bounds` holds, this is a row.
  __device__ int64_t bound(int64_t image) const {
    int64_t row = bounds[image];
    return row < 0 ? 0 : row > object_count ? object_count : row;
  }
};

// Not 0, which is the key of an object that no candidate touches.
__device__ Key key_of(float overlap, int64_t candidate) {
  return Key(__float_as_uint(overlap)) << 32 | (0xffffffffu - static_cast<unsigned>(candidate));
}
__device__ float overlap_in(Key key) { return __uint_as_float(static_cast<unsigned>(key >> 32)); }

// A thread's candidate, and the rows of the objects of its image.
struct Own {
  int64_t candidate, place, first, last;
  MeasuredBox<float> box;
};

__device__ Own own_of(const Problem& problem, int64_t image) {
  Own own{int64_t(blockIdx.x) * threads_per_block + threadIdx.x, -1, 0, 0, {}};
  if (own.candidate >= problem.candidate_count) return own;
  own.box = measured<OverlapMode::iou>(problem.candidates[own.candidate]);
  own.place = own.candidate + (problem.images ? 0 : image * problem.candidate_count);
  if (problem.images) image = problem.images[own.candidate];
  if (!problem.has_image(image)) return own;
  own.first = problem.bound(image);
  own.last = problem.bound(image + 1);
  return own;
}

// The rows of the objects of all candidates of a block.
struct Rows {
  int64_t first, last;
};

// To every thread. Numbers of 32 bits, as there is no instruction for the extremes of longer ones in shared memory.
__device__ Rows rows_of_block(const Problem& problem, int64_t image, const Own& own) {
  if (!problem.images) return {problem.bound(image), problem.bound(image + 1)};
  __shared__ unsigned least, most;
  __syncthreads();
  if (threadIdx.x == 0) least = ~0u, most = 0;
  __syncthreads();
  if (own.first < own.last) {
    atomicMin(&least, static_cast<unsigned>(own.first));
    atomicMax(&most, static_cast<unsigned>(own.last));
  }
  __syncthreads();
  if (most == 0) return {0, 0};
  return {int64_t(least), int64_t(most)};
}

template <Measure measure>
__global__ void compare_kernel(Problem problem, float* overlaps, int64_t* rows, Key* keys) {
  __shared__ MeasuredBox<float> objects[tile_size];
  __shared__ Key best_keys[tile_size];
  for (int64_t image = blockIdx.y; image < (problem.images ? 1 : problem.image_count); image += gridDim.y) {
    Own own = own_of(problem, image);
    Rows all = rows_of_block(problem, image, own);
    float best = 0;
    int64_t best_row = own.first < own.last ? own.first : -1;
    for (int64_t begin = all.first; begin < all.last; begin += tile_size) {
      int count = static_cast<int>(all.last - begin < tile_size ? all.last - begin : tile_size);
      __syncthreads();
      for (int i = threadIdx.x; i < count; i += threads_per_block) {
        objects[i] = measured<OverlapMode::iou>(problem.boxes[begin + i]);
        best_keys[i] = 0;
      }
      __syncthreads();
      for (int i = 0; i < count; ++i) {
        int64_t row = begin + i;
        if (row < own.first || row >= own.last) continue;
        float overlap = overlap_of<measure>(own.box, objects[i]);
        if (overlap > best) best = overlap, best_row = row;
        if (!keys || !(overlap > 0)) continue;
        Key key = key_of(overlap, own.candidate);
        if (key > *const_cast<volatile Key*>(&best_keys[i])) atomicMax(&best_keys[i], key);
      }
      __syncthreads();
      if (!keys) continue;
      for (int i = threadIdx.x; i < count; i += threads_per_block) {
        if (best_keys[i] != 0) atomicMax(&keys[begin + i], best_keys[i]);
      }
    }
    if (own.place >= 0) overlaps[own.place] = best, rows[own.place] = best_row;
  }
}

// Whether a candidate overlaps one of its image's objects as much as the best candidate of that object does.
template <Measure measure>
__global__ void mark_kernel(Problem problem, const Key* keys, bool* is_best) {
  for (int64_t image = blockIdx.y; image < (problem.images ? 1 : problem.image_count); image += gridDim.y) {
    Own own = own_of(problem, image);
    bool found = false;
    for (int64_t row = own.first; row < own.last && !found; ++row) {
      if (keys[row] == 0) continue;
      MeasuredBox<float> object = measured<OverlapMode::iou>(problem.boxes[row]);
      found = overlap_of<measure>(own.box, object) == overlap_in(keys[row]);
    }
    if (own.place >= 0) is_best[own.place] = found;
  }
}

__global__ void read_keys_kernel(const Key* keys, int64_t count, float* overlaps, int64_t* candidates) {
  for (int64_t row = first_item(); row < count; row += item_stride()) {
    Key key = keys[row];
    overlaps[row] = overlap_in(key);
    candidates[row] = key == 0 ? -1 : int64_t(0xffffffffu - static_cast<unsigned>(key));
  }
}

const Box<float>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<float>*>(tensor.const_data_ptr<float>());
}

template <Measure measure>
void find(const Problem& problem, Tensor& overlaps, Tensor& rows, Tensor* keys, Tensor& is_best) {
  cudaStream_t stream = stream_of(overlaps);
  int64_t across = (problem.candidate_count + threads_per_block - 1) / threads_per_block;
  int64_t images = problem.images ? 1 : std::min<int64_t>(problem.image_count, most_images);
  if (images == 0) return;
  dim3 blocks(static_cast<unsigned>(across), static_cast<unsigned>(images));
  Key* key_data = keys ? reinterpret_cast<Key*>(keys->mutable_data_ptr<int64_t>()) : nullptr;
  launch(
      compare_kernel<measure>, blocks, threads_per_block, stream, problem, overlaps.mutable_data_ptr<float>(),
      rows.mutable_data_ptr<int64_t>(), key_data);
  if (!keys) return;
  launch(mark_kernel<measure>, blocks, threads_per_block, stream, problem, key_data, is_best.mutable_data_ptr<bool>());
}

using Tensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensors best_overlaps(
    Tensor candidates, std::optional<Tensor> images, Tensor boxes, Tensor bounds, std::string measure,
    bool of_objects) {
  torch::stable::accelerator::DeviceGuard guard(candidates.get_device_index());
  candidates = as_contiguous(candidates);
  boxes = as_contiguous(boxes);
  bounds = as_contiguous(bounds);
  if (images) images = as_contiguous(*images);
  int64_t candidate_count = candidates.size(0), object_count = boxes.size(0), image_count = bounds.numel() - 1;
  STD_TORCH_CHECK(candidate_count < UINT32_MAX, "best_overlaps: more than 2^32 candidates");
  STD_TORCH_CHECK(object_count < UINT32_MAX, "best_overlaps: more than 2^32 objects");
  Problem problem{
      boxes_of(candidates), images ? images->const_data_ptr<int64_t>() : nullptr, boxes_of(boxes),
      bounds.const_data_ptr<int64_t>(), candidate_count, object_count, image_count};
  std::vector<int64_t> shape{candidate_count}, none{0}, of_object{of_objects ? object_count : 0};
  if (!images) shape.insert(shape.begin(), image_count);
  Tensor overlaps = torch::stable::new_empty(candidates, shape);
  Tensor rows = torch::stable::new_empty(candidates, shape, ScalarType::Long);
  Tensor is_best = torch::stable::new_empty(candidates, of_objects ? shape : none, ScalarType::Bool);
  Tensor object_overlaps = torch::stable::new_empty(candidates, of_object);
  Tensor keys = torch::stable::new_zeros(candidates, of_object, ScalarType::Long);
  Tensor object_candidates = torch::stable::new_empty(candidates, of_object, ScalarType::Long);
  (measure == "iou" ? find<Measure::iou> : find<Measure::coverage>)(
      problem, overlaps, rows, of_objects ? &keys : nullptr, is_best);
  if (of_objects) {
    launch(
        read_keys_kernel, blocks_for(object_count), threads_per_block, stream_of(keys),
        reinterpret_cast<const Key*>(keys.const_data_ptr<int64_t>()), object_count,
        object_overlaps.mutable_data_ptr<float>(), object_candidates.mutable_data_ptr<int64_t>());
  }
  return {overlaps, rows, is_best, object_overlaps, object_candidates};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) { m.impl("best_overlaps", TORCH_BOX(&best_overlaps)); }

}  // namespace detkit
