// Masks to run lengths and back on CUDA, a thread for each column: neighboring threads read and write neighboring
// pixels. What the runs are says ../rle.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <tuple>

#include "../contiguous.h"
#include "../mask_size.h"
#include "launch.h"
#include "run_encoder.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Masks (N, H, W), where what is not zero is inside.
struct Pixels {
  const uint8_t* data;
  int64_t count, height, width;

  __host__ __device__ int64_t columns() const { return count * width; }
  __device__ int64_t first_column(int64_t mask) const { return mask * width; }
  __device__ int64_t mask_of(int64_t column) const { return column / width; }
  __device__ int64_t pixels(int64_t) const { return height * width; }

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

std::tuple<Tensor, Tensor> masks_to_runs(Tensor masks) {
  torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  masks = as_contiguous(masks);
  Pixels pixels{
      static_cast<const uint8_t*>(masks.const_data_ptr()), masks.size(0), masks.size(1), masks.size(2)};
  check_size(pixels.height, pixels.width);
  return encode(pixels, pixels.columns(), masks);
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
