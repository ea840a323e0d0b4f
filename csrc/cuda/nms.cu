// Non-maximum suppression on CUDA. Boxes are sorted by score and then, where there are groups, by group, so that only
// boxes of one group are ever compared. They are taken a band at a time, without those that are gone by then, so the
// memory beside the boxes is that of a band, however many there are. The host waits for nothing, but for the size of a
// result that depends on it; so it launches as many steps as there could be, of which the last may find nothing to do.
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

// What is suppressed. Boxes whose label or image is another do not suppress each other.
struct Request {
  Tensor boxes, scores;
  std::optional<Tensor> labels, image_index;
  double iou_threshold;
  int64_t images, most;  // the most boxes to give of each image

  bool has_groups() const { return labels || image_index; }
  int count() const { return static_cast<int>(boxes.size(0)); }
  int words() const { return (count() + word_size - 1) / word_size; }
  int steps() const { return (words() + band_words - 1) / band_words; }
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

// A block for each image writes the indices of its boxes that stay, by rank, and -1 after the last; `numbers` gets how
// many there are of each, and then whether a score is NaN.
__global__ void __launch_bounds__(block_threads) finish_kernel(
    const uint8_t* kept, const int64_t* order, const int64_t* image_index, const int64_t* has_nan, int count,
    int64_t most, int64_t* out, int64_t* numbers) {
  constexpr int share = 8;  // ranks that a thread looks at in one go; there are bytes of `kept` for all of them
  int64_t image = blockIdx.x, found = 0;
  out += image * most;
  for (int64_t begin = 0; begin < count && found < most; begin += block_threads * share) {
    int64_t first = begin + threadIdx.x * share, indices[share];
    Bits stays = first < count ? reinterpret_cast<const Bits*>(kept)[first / share] : 0;
    int own = 0, total;
#pragma unroll
    for (int k = 0; k < share; ++k) indices[k] = stays >> (8 * k) & 1 ? order[first + k] : -1;
#pragma unroll
    for (int k = 0; k < share; ++k) {
      if (image_index && indices[k] >= 0 && image_index[indices[k]] != image) indices[k] = -1;
      own += indices[k] >= 0;
    }
    int64_t next = found + sum_before(own, total);
#pragma unroll
    for (int k = 0; k < share; ++k) {
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

// Memory of several kinds, one after the other in a tensor of int64: to allocate takes longer than some kernels.
class Memory {
 public:
  explicit Memory(Tensor& words) : next_(words.mutable_data_ptr<int64_t>()) {}

  template <typename Item>
  Item* take(int64_t items) {
    int64_t* taken = next_;
    next_ += words_of<Item>(items);
    return reinterpret_cast<Item*>(taken);
  }

  template <typename Item>
  static int64_t words_of(int64_t items) {
    return (items * int64_t(sizeof(Item)) + 7) / 8;
  }

 private:
  int64_t* next_;
};

template <typename T>
void rank(const Request& request, const Order& order, Box<T>* ranked, Bits* gone, int64_t* has_nan) {
  const Box<T>* boxes = reinterpret_cast<const Box<T>*>(request.boxes.const_data_ptr<T>());
  auto run = [&]<typename S>() {
    launch(
        rank_kernel<T, S>, blocks_for(request.count()), threads_per_block, stream_of(request.boxes), boxes,
        order.by_score.values.const_data_ptr<S>(), order.indices(), order.ranks(), data_of(request.image_index),
        request.images, request.count(), ranked, gone, has_nan);
  };
  request.scores.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                     : run.template operator()<float>();
}

template <typename T>
void suppress(
    const Request& request, const Order& order, const Box<T>* boxes, const Progress& progress, Bits* rows) {
  cudaStream_t stream = stream_of(request.boxes);
  Ranked<T> ranked{boxes, order.groups(), request.count(), threshold_as<T>(request.iou_threshold)};
  unsigned words = std::min(request.words(), band_words);
  for (int step = 0; step < request.steps(); ++step) {
    launch(
        gather_kernel, dim3(1), block_threads, stream, order.groups(), order.ranks(), ranked.count, progress, step);
    launch(compare_kernel<T>, dim3(compare_columns, words), compare_threads, stream, ranked, progress, step, rows);
    launch(resolve_kernel, dim3(words), resolve_threads, stream, ranked.groups, progress, step, rows);
    int64_t after = ranked.count - int64_t(step + 1) * band_boxes;  // at most: the band takes as many, if there are
    if (after <= 0) break;
    dim3 sweep((after + threads_per_block - 1) / threads_per_block, band_boxes / sweep_boxes);
    launch(sweep_kernel<T>, sweep, threads_per_block, stream, ranked, progress, step);
  }
}

// The first `most` of the boxes that stay of each image, then -1: (images, most). How many there are of each, and
// then whether a score is NaN: (images + 1,).
std::tuple<Tensor, Tensor> find(Request request) {
  STD_TORCH_CHECK(request.boxes.size(0) <= most_boxes, "nms: more than 2^30 boxes");
  request.boxes = as_contiguous(request.boxes);
  request.scores = as_contiguous(request.scores);
  if (request.labels) request.labels = as_contiguous(*request.labels);
  if (request.image_index) request.image_index = as_contiguous(*request.image_index);
  Order order = order_of(request);
  const Tensor& like = order.by_score.indices;
  int64_t count = request.count(), words = request.words(), steps = request.steps();
  int64_t row_words = std::min<int64_t>(words, band_words) * word_size * band_words;
  bool is_double = request.boxes.scalar_type() == ScalarType::Double;
  int64_t box_words = is_double ? Memory::words_of<Box<double>>(count) : Memory::words_of<Box<float>>(count);
  int64_t band_memory = 3 * Memory::words_of<int>(band_boxes) + Memory::words_of<Span>(band_words);
  int64_t step_memory = Memory::words_of<Band>(steps) + Memory::words_of<Crossing>(steps);
  Tensor zeros = torch::stable::new_zeros(like, {1 + words + Memory::words_of<uint8_t>(count)});
  Tensor others = torch::stable::new_empty(like, {box_words + row_words + step_memory + band_memory});
  Memory zero(zeros), other(others);
  int64_t* has_nan = zero.take<int64_t>(1);
  Bits* rows = other.take<Bits>(row_words);
  Progress progress{
      zero.take<Bits>(words), zero.take<uint8_t>(count), other.take<Band>(steps), other.take<Crossing>(steps),
      other.take<int>(band_boxes), other.take<int>(band_boxes), other.take<Span>(band_words),
      other.take<int>(band_boxes), static_cast<int>(std::min(request.most, count))};
  auto run = [&]<typename T>() {
    Box<T>* ranked = other.take<Box<T>>(count);
    rank<T>(request, order, ranked, progress.gone, has_nan);
    suppress<T>(request, order, ranked, progress, rows);
  };
  is_double ? run.template operator()<double>() : run.template operator()<float>();
  Tensor result = torch::stable::new_empty(like, {request.images, request.most});
  Tensor numbers = torch::stable::new_empty(like, {request.images + 1});
  launch(
      finish_kernel, dim3(static_cast<unsigned>(request.images)), block_threads, stream_of(like), progress.kept,
      order.indices(), data_of(request.image_index), has_nan, request.count(), request.most,
      result.mutable_data_ptr<int64_t>(), numbers.mutable_data_ptr<int64_t>());
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
  Tensor staying = torch::stable::new_empty(kept, {known[0]});
  STD_CUDA_CHECK(cudaMemcpyAsync(
      staying.mutable_data_ptr<int64_t>(), kept.const_data_ptr<int64_t>(), known[0] * sizeof(int64_t),
      cudaMemcpyDeviceToDevice, stream));
  return staying;
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
