// Non-maximum suppression on CUDA. Boxes are taken best first, a band of them at a time. The boxes of the band are
// compared with each other, which gives rows of bits; the rows are gone through in order, which tells the boxes that
// stay; and these are compared with all boxes after the band. So the memory beside the boxes is that of a band.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "../contiguous.h"
#include "launch.h"
#include "sort.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Bits = unsigned long long;

constexpr int bits = 64;        // boxes to a word
constexpr int band_words = 64;  // words to a band
constexpr int band_boxes = band_words * bits;
constexpr int sweep_boxes = 512;  // boxes that stay to a block of the sweep
static_assert(band_words <= bits, "the threads that resolve a band are as many as a word has bits");

// The boxes, best first.
template <typename T>
struct Ranked {
  const Box<T>* boxes;
  const int64_t* labels;  // absent where all boxes are of one class
  int64_t count;
  T threshold;
};

// What is known of them so far. Words are kept in tensors of int64, which have the same size.
struct Progress {
  Bits* gone;     // a bit for each box
  int64_t* kept;  // the ranks of the boxes that stay, in order
  int64_t* kept_count;
  int64_t* band_begin;  // what kept_count was before this band
  int64_t* has_nan;     // whether a score is NaN
  int64_t most;         // no more need be found
};

// Boxes whose score is NaN, which come first, are gone from the start.
template <typename T, typename S>
__global__ void rank_kernel(
    const Box<T>* boxes, const int64_t* labels, const int64_t* order, const S* sorted_scores, int64_t count,
    Box<T>* ranked_boxes, int64_t* ranked_labels, Progress progress) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    ranked_boxes[i] = boxes[order[i]];
    if (labels) ranked_labels[i] = labels[order[i]];
    if (sorted_scores[i] == sorted_scores[i]) continue;
    atomicOr(&progress.gone[i / bits], Bits(1) << (i % bits));
    *progress.has_nan = 1;
  }
}

// A block compares the 64 boxes of the band's word blockIdx.y with those of its word blockIdx.x. `rows` gets the bits
// of the later boxes that each suppresses.
template <typename T>
__global__ void compare_kernel(Ranked<T> ranked, Progress progress, int64_t first_word, Bits* rows) {
  __shared__ Box<T> column_boxes[bits];
  __shared__ int64_t column_labels[bits];
  if (blockIdx.x < blockIdx.y || *progress.kept_count >= progress.most) return;
  int64_t row = (first_word + blockIdx.y) * bits + threadIdx.x, begin = (first_word + blockIdx.x) * bits;
  int64_t loaded = begin + threadIdx.x;
  if (loaded < ranked.count) {
    column_boxes[threadIdx.x] = ranked.boxes[loaded];
    column_labels[threadIdx.x] = ranked.labels ? ranked.labels[loaded] : 0;
  }
  __syncthreads();
  if (row >= ranked.count) return;
  Box<T> box = ranked.boxes[row];
  T own_area = area(box);
  int64_t label = ranked.labels ? ranked.labels[row] : 0;
  int end = int(ranked.count - begin < bits ? ranked.count - begin : bits);
  Bits found = 0;
  for (int i = blockIdx.x == blockIdx.y ? int(threadIdx.x) + 1 : 0; i < end; ++i) {
    if (column_labels[i] != label) continue;
    if (overlaps_rarely(box, own_area, column_boxes[i], area(column_boxes[i]), ranked.threshold)) {
      found |= Bits(1) << i;
    }
  }
  rows[(blockIdx.y * bits + threadIdx.x) * int64_t(band_words) + blockIdx.x] = found;
}

// One block of a thread for each word goes through the band.
__global__ void resolve_kernel(const Bits* rows, int64_t count, int64_t first_word, int words, Progress progress) {
  __shared__ Bits gone[band_words];
  __shared__ Bits own[bits];  // the rows of a word's boxes, of which only the word itself
  __shared__ Bits staying;
  int thread = threadIdx.x;
  int64_t kept_count = *progress.kept_count;
  if (thread == 0) *progress.band_begin = kept_count;
  if (kept_count >= progress.most) return;
  if (thread < words) gone[thread] = progress.gone[first_word + thread];
  for (int word = 0; word < words; ++word) {
    int64_t box = (first_word + word) * bits + thread;
    const Bits* word_rows = rows + int64_t(word) * bits * band_words;
    own[thread] = box < count ? word_rows[thread * band_words + word] : 0;
    __syncthreads();
    if (thread == 0) {
      int64_t size = count - (first_word + word) * bits;
      Bits left = ~gone[word] & (size < bits ? (Bits(1) << size) - 1 : ~Bits(0)), stays = 0;
      while (left != 0) {
        int best = __ffsll(static_cast<long long>(left)) - 1;
        stays |= Bits(1) << best;
        left &= ~(Bits(1) << best) & ~own[best];
      }
      staying = stays;
    }
    __syncthreads();
    if (thread > word && thread < words) {
      Bits going = 0;
      for (Bits left = staying; left != 0; left &= left - 1) {
        going |= word_rows[(__ffsll(static_cast<long long>(left)) - 1) * band_words + thread];
      }
      gone[thread] |= going;
    }
    if (staying >> thread & 1) {
      Bits before = staying & ((Bits(1) << thread) - 1);
      progress.kept[kept_count + __popcll(before)] = box;
    }
    kept_count += __popcll(staying);
    __syncthreads();
  }
  if (thread == 0) *progress.kept_count = kept_count;
}

// A thread for each box after the band, compared with some of those that stay of the band: blockIdx.y tells which.
template <typename T>
__global__ void sweep_kernel(Ranked<T> ranked, Progress progress, int64_t first_box) {
  __shared__ Box<T> kept_boxes[sweep_boxes];
  __shared__ int64_t kept_labels[sweep_boxes];
  int64_t begin = *progress.band_begin + int64_t(blockIdx.y) * sweep_boxes;
  int64_t found = *progress.kept_count - begin;
  if (found <= 0 || *progress.kept_count >= progress.most) return;
  int size = int(found < sweep_boxes ? found : sweep_boxes);
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    kept_boxes[i] = ranked.boxes[progress.kept[begin + i]];
    kept_labels[i] = ranked.labels ? ranked.labels[progress.kept[begin + i]] : 0;
  }
  __syncthreads();
  for (int64_t i = first_box + first_item(); i < ranked.count; i += item_stride()) {
    Bits own_bit = Bits(1) << (i % bits);
    if (progress.gone[i / bits] & own_bit) continue;
    Box<T> box = ranked.boxes[i];
    T own_area = area(box);
    int64_t label = ranked.labels ? ranked.labels[i] : 0;
    for (int k = 0; k < size; ++k) {
      if (kept_labels[k] != label) continue;
      if (overlaps_rarely(kept_boxes[k], area(kept_boxes[k]), box, own_area, ranked.threshold)) {
        atomicOr(&progress.gone[i / bits], own_bit);
        break;
      }
    }
  }
}

// From ranks to indices, and -1 after the last; `number` gets how many there are.
__global__ void finish_kernel(Progress progress, const int64_t* order, int64_t count, int64_t* out, int64_t* number) {
  int64_t found = *progress.kept_count < count ? *progress.kept_count : count;
  for (int64_t i = first_item(); i < count; i += item_stride()) out[i] = i < found ? order[progress.kept[i]] : -1;
  if (first_item() == 0) *number = found;
}

template <typename T>
const Box<T>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<T>*>(tensor.const_data_ptr<T>());
}

template <typename T>
Ranked<T> rank(
    const Tensor& boxes, const std::optional<Tensor>& labels, const Sorted& sorted, double iou_threshold,
    Tensor& ranked_boxes, Tensor& ranked_labels, const Progress& progress) {
  int64_t count = boxes.size(0);
  int64_t* to_labels = ranked_labels.mutable_data_ptr<int64_t>();
  auto run = [&]<typename S>() {
    launch(
        rank_kernel<T, S>, blocks_for(count), threads_per_block, stream_of(boxes), boxes_of<T>(boxes),
        labels ? labels->const_data_ptr<int64_t>() : nullptr, sorted.indices.const_data_ptr<int64_t>(),
        sorted.values.const_data_ptr<S>(), count, reinterpret_cast<Box<T>*>(ranked_boxes.mutable_data_ptr<T>()),
        to_labels, progress);
  };
  sorted.values.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                    : run.template operator()<float>();
  return {boxes_of<T>(ranked_boxes), labels ? to_labels : nullptr, count, threshold_as<T>(iou_threshold)};
}

template <typename T>
void suppress(const Ranked<T>& ranked, const Progress& progress, const Tensor& like) {
  cudaStream_t stream = stream_of(like);
  Tensor row_words = torch::stable::new_empty(like, {int64_t(band_boxes) * band_words}, ScalarType::Long);
  Bits* rows = reinterpret_cast<Bits*>(row_words.mutable_data_ptr<int64_t>());
  for (int64_t first = 0; first < ranked.count; first += band_boxes) {
    int64_t after = ranked.count - first - band_boxes;  // boxes after the band
    int words = int((std::min<int64_t>(ranked.count - first, band_boxes) + bits - 1) / bits);
    dim3 pairs(static_cast<unsigned>(words), static_cast<unsigned>(words));
    launch(compare_kernel<T>, pairs, bits, stream, ranked, progress, first / bits, rows);
    launch(resolve_kernel, dim3(1), bits, stream, rows, ranked.count, first / bits, words, progress);
    if (after <= 0) break;
    dim3 sweep(blocks_for(after), band_boxes / sweep_boxes);
    launch(sweep_kernel<T>, sweep, threads_per_block, stream, ranked, progress, first + band_boxes);
  }
}

// The first `most` of the boxes that stay, then -1; how many there are; and whether a score is NaN: (most,) and (2,).
std::tuple<Tensor, Tensor> find(
    Tensor boxes, const Tensor& scores, std::optional<Tensor> labels, double iou_threshold, int64_t most) {
  int64_t count = boxes.size(0), words = (count + bits - 1) / bits;
  boxes = as_contiguous(boxes);
  if (labels) labels = as_contiguous(*labels);
  Sorted sorted = stable_sort(as_contiguous(scores), true);
  Tensor ranked_boxes = torch::stable::empty_like(boxes);
  Tensor ranked_labels = torch::stable::new_empty(sorted.indices, {labels ? count : 0});
  Tensor kept = torch::stable::empty_like(sorted.indices), gone = torch::stable::new_zeros(kept, {words});
  Tensor numbers = torch::stable::new_zeros(kept, {4}), result = torch::stable::new_empty(kept, {most});
  int64_t* number = numbers.mutable_data_ptr<int64_t>();
  Progress progress{
      reinterpret_cast<Bits*>(gone.mutable_data_ptr<int64_t>()), kept.mutable_data_ptr<int64_t>(), number + 2,
      number + 3, number + 1, most};
  auto run = [&]<typename T>() {
    suppress(rank<T>(boxes, labels, sorted, iou_threshold, ranked_boxes, ranked_labels, progress), progress, boxes);
  };
  boxes.scalar_type() == ScalarType::Double ? run.template operator()<double>() : run.template operator()<float>();
  launch(
      finish_kernel, std::max(1u, blocks_for(most)), threads_per_block, stream_of(boxes), progress,
      sorted.indices.const_data_ptr<int64_t>(), most, result.mutable_data_ptr<int64_t>(), number);
  return {result, torch::stable::narrow(numbers, 0, 0, 2)};
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  if (boxes.size(0) == 0) return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  auto [kept, numbers] = find(boxes, scores, labels, iou_threshold, boxes.size(0));
  // The size of the result must be known here, so this waits for the kernels.
  int64_t known[2];
  cudaStream_t stream = stream_of(boxes);
  STD_CUDA_CHECK(cudaMemcpyAsync(
      known, numbers.const_data_ptr<int64_t>(), sizeof known, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  STD_TORCH_CHECK(!known[1], "scores must not be NaN: the model that made them has diverged, or they were never set");
  return torch::stable::clone(torch::stable::narrow(kept, 0, 0, known[0]));
}

std::tuple<Tensor, Tensor> nms_padded(
    Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold, int64_t count) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  auto [kept, numbers] = find(boxes, scores, labels, iou_threshold, count);
  return {kept, torch::stable::select(numbers, 0, 0)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
  m.impl("nms_padded", TORCH_BOX(&nms_padded));
}

}  // namespace detkit
