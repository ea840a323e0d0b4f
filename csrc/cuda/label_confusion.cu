// The confusion of two label maps on CUDA. A thread takes neighboring pixels, which are mostly of one pair of classes,
// and adds to a number once for each run of these; a block adds up in its shared memory where the table fits.
#include "../label_confusion.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>

#include "../contiguous.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Count = unsigned long long;

constexpr int64_t pixels_per_thread = 16;
constexpr int shared_cells = 8192;  // 32 KB, which every device has
constexpr unsigned most_blocks = 1024;  // each adds its table to the result

// Calls `add(cell, pixels)` for each run of a thread's pixels.
template <typename Label, typename Add>
__device__ void for_each_run(
    const Label* truth, const Label* answer, int64_t count, const ConfusionTable& table, const Add& add) {
  for (int64_t part = first_item(); part * pixels_per_thread < count; part += item_stride()) {
    int64_t begin = part * pixels_per_thread;
    int64_t end = begin + pixels_per_thread < count ? begin + pixels_per_thread : count;
    int64_t cell = table.cell(truth[begin], answer[begin]);
    unsigned pixels = 1;
    for (int64_t pixel = begin + 1; pixel < end; ++pixel) {
      int64_t next = table.cell(truth[pixel], answer[pixel]);
      if (next != cell) {
        add(cell, pixels);
        cell = next;
        pixels = 0;
      }
      ++pixels;
    }
    add(cell, pixels);
  }
}

template <typename Label>
__global__ void count_in_shared_kernel(
    const Label* truth, const Label* answer, int64_t count, ConfusionTable table, Count* result) {
  __shared__ unsigned counts[shared_cells];  // a block has fewer than 2^32 pixels
  const int cells = static_cast<int>(table.size());
  for (int cell = threadIdx.x; cell < cells; cell += threads_per_block) counts[cell] = 0;
  __syncthreads();
  for_each_run(truth, answer, count, table, [&](int64_t cell, unsigned pixels) { atomicAdd(&counts[cell], pixels); });
  __syncthreads();
  const int counted = static_cast<int>(table.rows * table.stride());
  for (int cell = threadIdx.x; cell < counted; cell += threads_per_block) {
    if (counts[cell] != 0) atomicAdd(&result[cell], Count(counts[cell]));
  }
}

template <typename Label>
__global__ void count_kernel(
    const Label* truth, const Label* answer, int64_t count, ConfusionTable table, Count* result) {
  const int64_t counted = table.rows * table.stride();
  for_each_run(truth, answer, count, table, [&](int64_t cell, unsigned pixels) {
    if (cell < counted) atomicAdd(&result[cell], Count(pixels));
  });
}

template <typename Label>
void count_confusion(const Tensor& truth, const Tensor& answer, const ConfusionTable& table, Tensor& result) {
  int64_t count = truth.numel();
  STD_TORCH_CHECK(count < int64_t(1) << 40, "label_confusion: more than 2^40 pixels");
  unsigned blocks = std::min(blocks_for((count + pixels_per_thread - 1) / pixels_per_thread), most_blocks);
  launch(
      table.size() <= shared_cells ? count_in_shared_kernel<Label> : count_kernel<Label>, blocks, threads_per_block,
      stream_of(truth), truth.const_data_ptr<Label>(), answer.const_data_ptr<Label>(), count, table,
      reinterpret_cast<Count*>(result.mutable_data_ptr<int64_t>()));
}

Tensor label_confusion(Tensor truth, Tensor answer, int64_t rows, int64_t columns) {
  torch::stable::accelerator::DeviceGuard guard(truth.get_device_index());
  check_maps(truth, answer, rows, columns);
  truth = as_contiguous(truth);
  answer = as_contiguous(answer);
  ConfusionTable table{rows, columns};
  Tensor result = torch::stable::new_zeros(truth, {rows, columns + 1}, ScalarType::Long);
  with_label_type(
      truth.scalar_type(), [&]<typename Label>() { count_confusion<Label>(truth, answer, table, result); });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) { m.impl("label_confusion", TORCH_BOX(&label_confusion)); }

}  // namespace detkit
