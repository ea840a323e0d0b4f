// Non-maximum suppression on CUDA. Boxes are taken best first, a band of them at a time: every box of the band is
// compared with all boxes after it, which gives a row of bits; then the rows are gone through in order, and the row of
// each box that stays is added to the bits of the boxes that go.
#include "../nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <array>
#include <optional>

#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Bits = unsigned long long;

constexpr int bits = 64;                // boxes to a word
constexpr int64_t band_words = 64;      // words' worth of boxes to a band: what bounds the memory
constexpr int resolving_threads = 512;  // at least `bits`

template <typename T>
__global__ void rank_kernel(
    const Box<T>* boxes, const int64_t* labels, const int64_t* order, int64_t count, Box<T>* ranked_boxes,
    int64_t* ranked_labels) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    ranked_boxes[i] = boxes[order[i]];
    ranked_labels[i] = labels ? labels[order[i]] : 0;
  }
}

// A block compares 64 boxes of the band, from word blockIdx.y, with the 64 boxes of word blockIdx.x.
template <typename T>
__global__ void compare_kernel(
    const Box<T>* boxes, const int64_t* labels, int64_t count, T threshold, int64_t first_word, int64_t words,
    Bits* rows) {
  int64_t row_word = first_word + blockIdx.y, column_word = blockIdx.x;
  if (column_word < row_word) return;
  __shared__ Box<T> column_boxes[bits];
  __shared__ int64_t column_labels[bits];
  int64_t loaded = column_word * bits + threadIdx.x;
  if (loaded < count) {
    column_boxes[threadIdx.x] = boxes[loaded];
    column_labels[threadIdx.x] = labels[loaded];
  }
  __syncthreads();
  int64_t row = row_word * bits + threadIdx.x;
  if (row >= count) return;
  Box<T> box = boxes[row];
  T own_area = area(box);
  Bits found = 0;
  int begin = row_word == column_word ? int(threadIdx.x) + 1 : 0;
  int end = int(count - column_word * bits < bits ? count - column_word * bits : bits);
  for (int i = begin; i < end; ++i) {
    if (column_labels[i] != labels[row]) continue;
    if (overlaps(box, own_area, column_boxes[i], area(column_boxes[i]), threshold)) found |= Bits(1) << i;
  }
  rows[(row - first_word * bits) * words + column_word] = found;
}

// One block goes through the words of the band in order. `kept` gets the ranks of the boxes that stay.
__global__ void resolve_kernel(
    const Bits* rows, int64_t count, int64_t first_word, int64_t last_word, int64_t words, const int64_t* order,
    Bits* gone, int64_t* kept, int64_t* kept_count) {
  __shared__ Bits own[bits];  // the rows of a word's boxes, of which only the word itself
  __shared__ Bits staying;
  for (int64_t word = first_word; word < last_word; ++word) {
    const Bits* band_rows = rows + (word - first_word) * bits * words;
    int64_t box = word * bits + threadIdx.x;
    if (threadIdx.x < bits && box < count) own[threadIdx.x] = band_rows[threadIdx.x * words + word];
    __syncthreads();
    if (threadIdx.x == 0) {
      Bits going = gone[word], stays = 0;
      for (int i = 0; i < bits && word * bits + i < count; ++i) {
        if (going >> i & 1) continue;
        stays |= Bits(1) << i;
        going |= own[i];
      }
      staying = stays;
    }
    __syncthreads();
    for (int64_t later = word + 1 + threadIdx.x; later < words; later += blockDim.x) {
      Bits going = gone[later];
      for (Bits left = staying; left != 0; left &= left - 1) going |= band_rows[(__ffsll(left) - 1) * words + later];
      gone[later] = going;
    }
    if (threadIdx.x < bits && (staying >> threadIdx.x & 1)) {
      Bits before = staying & ((Bits(1) << threadIdx.x) - 1);
      kept[*kept_count + __popcll(before)] = order[box];
    }
    __syncthreads();
    if (threadIdx.x == 0) *kept_count += __popcll(staying);
    __syncthreads();
  }
}

// The indices of the scores, best first, equal ones in their order. (torch's headers have this call from 2.15 on.)
Tensor ranking(const Tensor& scores) {
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(scores), torch::stable::detail::from(std::optional<bool>(true)),
      torch::stable::detail::from(int64_t(0)), torch::stable::detail::from(true)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // the sorted scores, which are ours to release
  return torch::stable::detail::to<Tensor>(stack[1]);
}

template <typename T>
void suppress(
    const Tensor& boxes, const Tensor& order, const std::optional<Tensor>& labels, T threshold, Tensor& kept,
    Tensor& kept_count) {
  int64_t count = boxes.size(0), words = (count + bits - 1) / bits;
  cudaStream_t stream = stream_of(boxes);
  Tensor ranked_boxes = torch::stable::empty_like(boxes), ranked_labels = torch::stable::empty_like(order);
  const Box<T>* sorted = reinterpret_cast<const Box<T>*>(ranked_boxes.const_data_ptr<T>());
  rank_kernel<T><<<blocks_for(count), threads_per_block, 0, stream>>>(
      reinterpret_cast<const Box<T>*>(boxes.const_data_ptr<T>()), labels ? labels->const_data_ptr<int64_t>() : nullptr,
      order.const_data_ptr<int64_t>(), count, reinterpret_cast<Box<T>*>(ranked_boxes.mutable_data_ptr<T>()),
      ranked_labels.mutable_data_ptr<int64_t>());
  STD_CUDA_KERNEL_LAUNCH_CHECK();

  // Words are kept in tensors of int64, which have the same size.
  Tensor gone = torch::stable::new_zeros(order, {words});
  Tensor rows = torch::stable::new_empty(order, {std::min(words, band_words) * bits, words});
  Bits* row_data = reinterpret_cast<Bits*>(rows.mutable_data_ptr<int64_t>());
  for (int64_t first = 0; first < words; first += band_words) {
    int64_t last = std::min(first + band_words, words);
    dim3 grid(static_cast<unsigned>(words), static_cast<unsigned>(last - first));
    compare_kernel<T><<<grid, bits, 0, stream>>>(
        sorted, ranked_labels.const_data_ptr<int64_t>(), count, threshold, first, words, row_data);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    resolve_kernel<<<1, resolving_threads, 0, stream>>>(
        row_data, count, first, last, words, order.const_data_ptr<int64_t>(),
        reinterpret_cast<Bits*>(gone.mutable_data_ptr<int64_t>()), kept.mutable_data_ptr<int64_t>(),
        kept_count.mutable_data_ptr<int64_t>());
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
}

Tensor nms(Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  int64_t count = boxes.size(0);
  if (count == 0) return torch::stable::new_empty(boxes, {0}, ScalarType::Long);
  boxes = torch::stable::contiguous(boxes);
  if (labels) labels = torch::stable::contiguous(*labels);
  Tensor order = torch::stable::contiguous(ranking(scores));
  Tensor kept = torch::stable::empty_like(order), kept_count = torch::stable::new_zeros(order, {1});
  if (boxes.scalar_type() == ScalarType::Double) {
    suppress(boxes, order, labels, threshold_as<double>(iou_threshold), kept, kept_count);
  } else {
    suppress(boxes, order, labels, threshold_as<float>(iou_threshold), kept, kept_count);
  }
  // The size of the result must be known here, so this waits for the kernels.
  int64_t size = 0;
  cudaStream_t stream = stream_of(boxes);
  const int64_t* device_size = kept_count.const_data_ptr<int64_t>();
  STD_CUDA_CHECK(cudaMemcpyAsync(&size, device_size, sizeof size, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  return torch::stable::clone(torch::stable::narrow(kept, 0, 0, size));
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("nms", TORCH_BOX(&nms));
}

}  // namespace detkit
