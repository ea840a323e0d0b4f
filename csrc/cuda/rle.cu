// Masks to run lengths and back on CUDA, a thread for each column: neighboring threads read and write neighboring
// pixels. What the runs are says ../rle.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include "../contiguous.h"
#include "../mask_size.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Masks (N, H, W), where what is not zero is inside.
struct Pixels {
  const uint8_t* data;
  int64_t count, height, width;

  __device__ int64_t columns() const { return count * width; }

  // Calls `visit(position)` where a column of a mask differs from the pixel before, column after column.
  template <typename Visit>
  __device__ void for_each_change(int64_t column, const Visit& visit) const {
    const uint8_t* mask = data + column / width * height * width;
    int64_t x = column % width;
    bool before = x > 0 && height > 0 && mask[(height - 1) * width + x - 1] != 0;
    for (int64_t y = 0; y < height; ++y) {
      bool own = mask[y * width + x] != 0;
      if (own != before) visit(static_cast<int32_t>(x * height + y));
      before = own;
    }
  }
};

__global__ void count_kernel(Pixels masks, int64_t* changes) {
  for (int64_t column = first_item(); column < masks.columns(); column += item_stride()) {
    int64_t count = 0;
    masks.for_each_change(column, [&](int32_t) { ++count; });
    changes[column] = count;
  }
}

// `changes` are summed up now: those of all columns up to and with each.
__global__ void offsets_kernel(Pixels masks, const int64_t* changes, int64_t* offsets) {
  for (int64_t mask = first_item(); mask <= masks.count; mask += item_stride()) {
    int64_t before = mask == 0 || masks.width == 0 ? 0 : changes[mask * masks.width - 1];
    offsets[mask] = before + mask;  // one run more than there are changes
  }
}

// Each change ends a run and begins the next.
__global__ void ends_kernel(
    Pixels masks, const int64_t* changes, const int64_t* offsets, int32_t* begins, int32_t* ends) {
  for (int64_t column = first_item(); column < masks.columns(); column += item_stride()) {
    int64_t run = (column == 0 ? 0 : changes[column - 1]) + column / masks.width;
    masks.for_each_change(column, [&](int32_t position) {
      ends[run] = position;
      begins[++run] = position;
    });
  }
  for (int64_t mask = first_item(); mask < masks.count; mask += item_stride()) {
    begins[offsets[mask]] = 0;
    ends[offsets[mask + 1] - 1] = static_cast<int32_t>(masks.height * masks.width);
  }
}

__global__ void lengths_kernel(const int32_t* begins, const int32_t* ends, int64_t runs, int32_t* counts) {
  for (int64_t run = first_item(); run < runs; run += item_stride()) counts[run] = ends[run] - begins[run];
}

// Sums of a vector's first numbers, int64. (torch's headers do not have this call.)
Tensor running_sums(const Tensor& values) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 3> stack{
      from(values), from(int64_t(0)), from(std::optional<ScalarType>(ScalarType::Long))};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::cumsum", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

std::tuple<Tensor, Tensor> masks_to_runs(Tensor masks) {
  torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  masks = as_contiguous(masks);
  Pixels pixels{
      static_cast<const uint8_t*>(masks.const_data_ptr()), masks.size(0), masks.size(1), masks.size(2)};
  check_size(pixels.height, pixels.width);
  cudaStream_t stream = stream_of(masks);
  int64_t columns = pixels.count * pixels.width;
  Tensor changes = torch::stable::new_empty(masks, {columns}, ScalarType::Long);
  launch(
      count_kernel, blocks_for(columns), threads_per_block, stream, pixels, changes.mutable_data_ptr<int64_t>());
  changes = running_sums(changes);
  const int64_t* changes_before = changes.const_data_ptr<int64_t>();
  Tensor offsets = torch::stable::new_empty(masks, {pixels.count + 1}, ScalarType::Long);
  launch(
      offsets_kernel, blocks_for(pixels.count + 1), threads_per_block, stream, pixels, changes_before,
      offsets.mutable_data_ptr<int64_t>());
  // The size of the result must be known here, so this waits for the kernels.
  int64_t runs = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(
      &runs, offsets.const_data_ptr<int64_t>() + pixels.count, sizeof runs, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  Tensor begins = torch::stable::new_empty(masks, {runs}, ScalarType::Int);
  Tensor ends = torch::stable::new_empty(masks, {runs}, ScalarType::Int);
  Tensor counts = torch::stable::new_empty(masks, {runs}, ScalarType::Int);
  launch(
      ends_kernel, blocks_for(std::max(columns, pixels.count)), threads_per_block, stream, pixels, changes_before,
      offsets.const_data_ptr<int64_t>(), begins.mutable_data_ptr<int32_t>(), ends.mutable_data_ptr<int32_t>());
  launch(
      lengths_kernel, blocks_for(runs), threads_per_block, stream, begins.const_data_ptr<int32_t>(),
      ends.const_data_ptr<int32_t>(), runs, counts.mutable_data_ptr<int32_t>());
  return {counts, offsets};
}

// `ends` are the running sums of all counts, over all masks; the runs of each sum to its pixels.
__global__ void fill_kernel(
    const int64_t* ends, const int64_t* offsets, int64_t count, int64_t height, int64_t width, bool* images) {
  for (int64_t column = first_item(); column < count * width; column += item_stride()) {
    int64_t mask = column / width, x = column % width;
    int64_t position = column * height;  // among the pixels of all masks, column after column
    int64_t first = offsets[mask], low = first, high = offsets[mask + 1] - 1;
    while (low < high) {  // the first run that ends behind the position
      int64_t middle = (low + high) / 2;
      if (ends[middle] > position) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    for (int64_t y = 0; y < height; ++y, ++position) {
      while (low + 1 < offsets[mask + 1] && ends[low] <= position) ++low;
      images[(mask * height + y) * width + x] = (low - first) % 2 == 1;
    }
  }
}

Tensor runs_to_masks(Tensor counts, Tensor offsets, int64_t height, int64_t width) {
  torch::stable::accelerator::DeviceGuard guard(counts.get_device_index());
  check_size(height, width);
  offsets = as_contiguous(offsets);
  Tensor ends = running_sums(counts);
  int64_t count = offsets.numel() - 1;
  Tensor images = torch::stable::new_empty(counts, {count, height, width}, ScalarType::Bool);
  launch(
      fill_kernel, blocks_for(count * width), threads_per_block, stream_of(counts), ends.const_data_ptr<int64_t>(),
      offsets.const_data_ptr<int64_t>(), count, height, width, images.mutable_data_ptr<bool>());
  return images;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("masks_to_runs", TORCH_BOX(&masks_to_runs));
  m.impl("runs_to_masks", TORCH_BOX(&runs_to_masks));
}

}  // namespace detkit
