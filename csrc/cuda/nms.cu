// Non-maximum suppression on CUDA. Boxes are sorted by score and then, where there are groups, by group, so that only
// boxes of one group are ever compared. They are taken a band at a time (nms_band.h): the memory beside the boxes is
// that of a band, however many there are. The host waits for nothing, but for the size of a result that depends on it.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "../contiguous.h"
#include "launch.h"
#include "nms_band.h"
#include "sort.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int finish_threads = 512;
constexpr int finish_ranks = 8;  // that a thread looks at in one go

// What is suppressed. Boxes whose label or image is another do not suppress each other.
struct Request {
  Tensor boxes, scores;
  std::optional<Tensor> labels, image_index;
  double iou_threshold;
  int64_t images, most;  // the most boxes to give of each image

  bool has_groups() const { return labels || image_index; }
  int count() const { return static_cast<int>(boxes.size(0)); }
  int words() const { return (count() + word_size - 1) / word_size; }
  int steps() const { return (words() + group_words - 1) / group_words; }
};

const int64_t* data_of(const std::optional<Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<int64_t>() : nullptr;
}

// The order of the boxes: by score; and by group where there are any, then of each position the rank by score.
struct Order {
  Sorted by_score;
  std::optional<Sorted> by_group;

  const int64_t* indices() const { return by_score.indices.const_data_ptr<int64_t>(); }
  const int64_t* groups() const { return by_group ? by_group->values.const_data_ptr<int64_t>() : nullptr; }
  const int64_t* ranks() const { return by_group ? by_group->indices.const_data_ptr<int64_t>() : nullptr; }
};

Order order_of(const Request& request) {
  Order order{stable_sort(request.scores, true), std::nullopt};
  if (!request.has_groups()) return order;
  Tensor groups = torch::stable::empty_like(order.by_score.indices);
  launch(
      group_kernel, blocks_for(request.count()), threads_per_block, stream_of(groups), order.indices(),
      data_of(request.image_index), data_of(request.labels), request.images, request.count(),
      groups.mutable_data_ptr<int64_t>());
  order.by_group = stable_sort(groups, false);
  return order;
}

// The boxes by position. Those whose score is NaN and those of no image are gone from the start.
template <typename T, typename S>
__global__ void rank_kernel(
    const Box<T>* boxes, const S* sorted_scores, const int64_t* order, const int64_t* ranks,
    const int64_t* image_index, int64_t images, int count, Box<T>* ranked, Bits* gone, int64_t* has_nan) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    int64_t rank = ranks ? ranks[i] : i, index = order[rank];
    ranked[i] = boxes[index];
    bool is_nan = sorted_scores[rank] != sorted_scores[rank];
    if (is_nan) *has_nan = 1;
    if (is_nan || (image_index && !is_image(image_index[index], images))) {
      atomicOr(&gone[i / word_size], Bits(1) << (i % word_size));
    }
  }
}

// The sum of the values of the threads before this one, and that of all.
__device__ int sum_before(int value, int& total) {
  __shared__ int sums[finish_threads / warp_size];  // of each warp
  int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, sum = value;
  for (int distance = 1; distance < warp_size; distance *= 2) {
    int other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == warp_size - 1) sums[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
  for (int i = 0; i < finish_threads / warp_size; ++i) {
    if (i < warp) before += sums[i];
    total += sums[i];
  }
  __syncthreads();
  return before + sum - value;
}

// A block for each image writes the indices of its boxes that stay, by rank, and -1 after the last; `numbers` gets how
// many there are of each, and then whether a score is NaN.
__global__ void __launch_bounds__(finish_threads) finish_kernel(
    const Bits* kept, const int64_t* order, const int64_t* image_index, const int64_t* has_nan, int count,
    int64_t most, int64_t* out, int64_t* numbers) {
  int64_t image = blockIdx.x, found = 0;
  out += image * most;
  for (int64_t begin = 0; begin < count && found < most; begin += finish_threads * finish_ranks) {
    int64_t first = begin + threadIdx.x * finish_ranks;
    Bits stays = first < count ? kept[first / word_size] >> (first % word_size) : 0;
    int64_t indices[finish_ranks];
    int number = 0;
#pragma unroll
    for (int k = 0; k < finish_ranks; ++k) indices[k] = stays >> k & 1 ? order[first + k] : -1;
#pragma unroll
    for (int k = 0; k < finish_ranks; ++k) {
      if (image_index && indices[k] >= 0 && image_index[indices[k]] != image) indices[k] = -1;
      number += indices[k] >= 0;
    }
    int total;
    int64_t next = found + sum_before(number, total);
#pragma unroll
    for (int k = 0; k < finish_ranks; ++k) {
      if (indices[k] >= 0 && next < most) out[next] = indices[k];
      next += indices[k] >= 0;
    }
    found += total;
  }
  found = smaller(found, most);
  for (int64_t i = found + threadIdx.x; i < most; i += blockDim.x) out[i] = -1;
  if (threadIdx.x != 0) return;
  numbers[image] = found;
  if (image == 0) numbers[gridDim.x] = *has_nan;
}

// Memory for as many as asked for of each kind, one after the other: an allocation takes longer than some kernels.
class Memory {
 public:
  Memory(const Tensor& words) : next_(words.mutable_data_ptr<int64_t>()) {}

  template <typename Item>
  Item* take(int64_t words) {
    int64_t* taken = next_;
    next_ += words;
    return reinterpret_cast<Item*>(taken);
  }

 private:
  int64_t* next_;
};

template <typename T>
const Box<T>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
}

template <typename T>
void rank(const Request& request, const Order& order, Tensor& ranked, Bits* gone, int64_t* has_nan) {
  auto run = [&]<typename S>() {
    launch(
        rank_kernel<T, S>, blocks_for(request.count()), threads_per_block, stream_of(ranked),
        boxes_of<T>(request.boxes), order.by_score.values.const_data_ptr<S>(), order.indices(), order.ranks(),
        data_of(request.image_index), request.images, request.count(),
        reinterpret_cast<Box<T>*>(ranked.mutable_data_ptr<T>()), gone, has_nan);
  };
  request.scores.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                     : run.template operator()<float>();
}

template <typename T>
void suppress(const Request& request, const Order& order, const Progress& progress, const Tensor& boxes, Bits* rows) {
  cudaStream_t stream = stream_of(boxes);
  Ranked<T> ranked{boxes_of<T>(boxes), order.groups(), request.count(), threshold_as<T>(request.iou_threshold)};
  unsigned words = std::min(request.words(), request.has_groups() ? longest_band : group_words);
  for (int step = 0; step < request.steps(); ++step) {
    launch(compare_kernel<T>, dim3(compare_columns, words), compare_threads, stream, ranked, progress, step, rows);
    launch(resolve_kernel, dim3(words), resolve_threads, stream, ranked.groups, ranked.count, progress, step, rows);
    int64_t after = ranked.count - int64_t(step + 1) * group_words * word_size;  // at most, after the band
    if (after <= 0) break;
    dim3 sweep((after + threads_per_block - 1) / threads_per_block, group_words * word_size / sweep_boxes);
    launch(sweep_kernel<T>, sweep, threads_per_block, stream, ranked, progress, step);
  }
}

// The first `most` of the boxes that stay of each image, then -1: (images, most). How many there are of each, and
// then whether a score is NaN: (images + 1,).
std::tuple<Tensor, Tensor> find(Request request) {
  STD_TORCH_CHECK(request.boxes.size(0) <= most_boxes, "nms: more than 2^30 boxes");
  for (Tensor* tensor : {&request.boxes, &request.scores}) *tensor = as_contiguous(*tensor);
  for (auto* tensor : {&request.labels, &request.image_index}) {
    if (*tensor) *tensor = as_contiguous(**tensor);
  }
  cudaStream_t stream = stream_of(request.boxes);
  Order order = order_of(request);
  const Tensor& like = order.by_score.indices;
  int count = request.count(), words = request.words(), steps = request.steps();
  int band_words = std::min(words, request.has_groups() ? longest_band : group_words);
  int64_t row_words = int64_t(band_words) * word_size * group_words, list_words = group_words * word_size / 2;
  Tensor known = torch::stable::new_zeros(like, {2 * words + 1});
  Tensor scratch = torch::stable::new_empty(like, {row_words + list_words + 2 * steps + words});
  Tensor ranked = torch::stable::empty_like(request.boxes);
  Memory zeros(known), memory(scratch);
  Bits *gone = zeros.take<Bits>(words), *kept = zeros.take<Bits>(words), *rows = memory.take<Bits>(row_words);
  int64_t* has_nan = zeros.take<int64_t>(1);
  int* list = memory.take<int>(list_words);
  Crossing* crossings = memory.take<Crossing>(steps);
  Span *bands = nullptr, *spans = nullptr;
  if (request.has_groups()) {
    bands = memory.take<Span>(steps);
    spans = memory.take<Span>(words);
    launch(word_kernel, blocks_for(words), threads_per_block, stream, order.groups(), count, spans);
    if (words > 0) launch(plan_kernel, dim3(1), plan_threads, stream, spans, words, steps, bands);
  }
  int most = static_cast<int>(std::min<int64_t>(request.most, count));
  Progress progress{{spans, count}, {bands, words}, order.ranks(), gone, kept, list, crossings, most};
  auto run = [&]<typename T>() {
    rank<T>(request, order, ranked, gone, has_nan);
    suppress<T>(request, order, progress, ranked, rows);
  };
  request.boxes.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                    : run.template operator()<float>();
  Tensor result = torch::stable::new_empty(like, {request.images, request.most});
  Tensor numbers = torch::stable::new_empty(like, {request.images + 1});
  launch(
      finish_kernel, dim3(static_cast<unsigned>(request.images)), finish_threads, stream, kept, order.indices(),
      data_of(request.image_index), has_nan, count, request.most, result.mutable_data_ptr<int64_t>(),
      numbers.mutable_data_ptr<int64_t>());
  return {result, numbers};
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  if (boxes.size(0) == 0) return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  auto [kept, numbers] = find({boxes, scores, labels, std::nullopt, iou_threshold, 1, boxes.size(0)});
  // The size of the result must be known here, so this waits for the kernels.
  int64_t known[2];
  cudaStream_t stream = stream_of(boxes);
  STD_CUDA_CHECK(cudaMemcpyAsync(
      known, numbers.const_data_ptr<int64_t>(), sizeof known, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  STD_TORCH_CHECK(!known[1], "scores must not be NaN: the model that made them has diverged, or they were never set");
  Tensor padded = torch::stable::select(kept, 0, 0);
  return torch::stable::clone(torch::stable::narrow(padded, 0, 0, known[0]));
}

std::tuple<Tensor, Tensor> nms_padded(
    Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold, int64_t count) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  auto [kept, numbers] = find({boxes, scores, labels, std::nullopt, iou_threshold, 1, count});
  return {torch::stable::select(kept, 0, 0), torch::stable::select(numbers, 0, 0)};
}

std::tuple<Tensor, Tensor> batched_nms_padded(
    Tensor boxes, Tensor scores, Tensor image_index, std::optional<Tensor> labels, double iou_threshold, int64_t images,
    int64_t count) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  auto [kept, numbers] = find({boxes, scores, labels, image_index, iou_threshold, images, count});
  return {kept, torch::stable::narrow(numbers, 0, 0, images)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
  m.impl("batched_nms_padded", TORCH_BOX(&batched_nms_padded));
}

}  // namespace detkit
