// Masks to run lengths on CUDA, a thread for each column of a mask. What the runs are says ../rle.h.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include "launch.h"

namespace detkit {
namespace {  // kernels are told apart by the file that starts them

// What is encoded are `Masks` that know
//   count, columns()                 the number of masks, and of all their columns
//   first_column(mask)               where the columns of a mask begin; for `count` their end
//   mask_of(column)                  the reverse
//   pixels(mask)                     of one mask, less than 2^31
//   for_each_change(column, visit)   calls `visit(position)` where a column differs from the pixel before, column
//                                    after column, counted within the mask

template <typename Masks>
__global__ void count_kernel(Masks masks, int64_t* changes) {
  for (int64_t column = first_item(); column < masks.columns(); column += item_stride()) {
    int64_t count = 0;
    masks.for_each_change(column, [&](int32_t) { ++count; });
    changes[column] = count;
  }
}

// `changes` are summed up now: those of all columns up to and with each.
template <typename Masks>
__global__ void offsets_kernel(Masks masks, const int64_t* changes, int64_t* offsets) {
  for (int64_t mask = first_item(); mask <= masks.count; mask += item_stride()) {
    int64_t column = masks.first_column(mask);
    offsets[mask] = (column == 0 ? 0 : changes[column - 1]) + mask;  // one run more than there are changes
  }
}

// Each change ends a run and begins the next.
template <typename Masks>
__global__ void ends_kernel(
    Masks masks, const int64_t* changes, const int64_t* offsets, int32_t* begins, int32_t* ends) {
  for (int64_t column = first_item(); column < masks.columns(); column += item_stride()) {
    int64_t run = (column == 0 ? 0 : changes[column - 1]) + masks.mask_of(column);
    masks.for_each_change(column, [&](int32_t position) {
      ends[run] = position;
      begins[++run] = position;
    });
  }
  for (int64_t mask = first_item(); mask < masks.count; mask += item_stride()) {
    begins[offsets[mask]] = 0;
    ends[offsets[mask + 1] - 1] = static_cast<int32_t>(masks.pixels(mask));
  }
}

__global__ void lengths_kernel(const int32_t* begins, const int32_t* ends, int64_t runs, int32_t* counts) {
  for (int64_t run = first_item(); run < runs; run += item_stride()) counts[run] = ends[run] - begins[run];
}

// Sums of a vector's first numbers, int64. (torch's headers do not have this call.)
[[maybe_unused]] torch::stable::Tensor running_sums(const torch::stable::Tensor& values) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  using torch::headeronly::ScalarType;
  std::array<StableIValue, 3> stack{
      from(values), from(int64_t(0)), from(std::optional<ScalarType>(ScalarType::Long))};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::cumsum", "", stack.data(), TORCH_ABI_VERSION));
  return to<torch::stable::Tensor>(stack[0]);
}

// Counts and offsets, on the device of `like`.
template <typename Masks>
std::tuple<torch::stable::Tensor, torch::stable::Tensor> encode(
    const Masks& masks, int64_t columns, const torch::stable::Tensor& like) {
  using torch::headeronly::ScalarType;
  using torch::stable::Tensor;
  cudaStream_t stream = stream_of(like);
  Tensor changes = torch::stable::new_empty(like, {columns}, ScalarType::Long);
  launch(
      count_kernel<Masks>, blocks_for(columns), threads_per_block, stream, masks, changes.mutable_data_ptr<int64_t>());
  changes = running_sums(changes);
  const int64_t* changes_before = changes.const_data_ptr<int64_t>();
  Tensor offsets = torch::stable::new_empty(like, {masks.count + 1}, ScalarType::Long);
  launch(
      offsets_kernel<Masks>, blocks_for(masks.count + 1), threads_per_block, stream, masks, changes_before,
      offsets.mutable_data_ptr<int64_t>());
  // The size of the result must be known here, so this waits for the kernels.
  int64_t runs = 0;
  STD_CUDA_CHECK(cudaMemcpyAsync(
      &runs, offsets.const_data_ptr<int64_t>() + masks.count, sizeof runs, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  Tensor begins = torch::stable::new_empty(like, {runs}, ScalarType::Int);
  Tensor ends = torch::stable::new_empty(like, {runs}, ScalarType::Int);
  Tensor counts = torch::stable::new_empty(like, {runs}, ScalarType::Int);
  launch(
      ends_kernel<Masks>, blocks_for(std::max(columns, masks.count)), threads_per_block, stream, masks, changes_before,
      offsets.const_data_ptr<int64_t>(), begins.mutable_data_ptr<int32_t>(), ends.mutable_data_ptr<int32_t>());
  launch(
      lengths_kernel, blocks_for(runs), threads_per_block, stream, begins.const_data_ptr<int32_t>(),
      ends.const_data_ptr<int32_t>(), runs, counts.mutable_data_ptr<int32_t>());
  return {counts, offsets};
}

}  // namespace
}  // namespace detkit
