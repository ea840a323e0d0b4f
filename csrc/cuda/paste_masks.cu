// Masks pasted into images on CUDA: a thread for each pixel. The arithmetic is that of the CPU, to the last bit.
#include "../paste_masks.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "../contiguous.h"
#include "../mask_size.h"
#include "launch.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A mask with a border of one zero all around.
template <typename T>
struct Bordered {
  const T* cells;
  int64_t side;

  __device__ T at(int32_t row, int32_t column) const {
    bool is_inside = row > 0 && row <= side && column > 0 && column <= side;
    return is_inside ? cells[(row - 1) * side + column - 1] : T(0);
  }
};

template <bool fused, typename T>
__device__ T probability_at(const Bordered<T>& mask, const int64_t* box, int64_t y, int64_t x, bool fused_places) {
  Stretch<T> across(mask.side + 2, box[0], box[2]), down(mask.side + 2, box[1], box[3]);
  bool one_step = in_one_step(across, down);
  Between<T> column = between<fused>(across, x - box[0], one_step || fused_places);
  Between<T> row = between<fused>(down, y - box[1], one_step || fused_places);
  T low_low = mask.at(row.low, column.low), low_high = mask.at(row.low, column.high);
  T high_low = mask.at(row.high, column.low), high_high = mask.at(row.high, column.high);
  if (one_step) {
    return blend_in_one_step<fused>(
        low_low, low_high, high_low, high_high, row, column.low_weight, column.high_weight);
  }
  T low = blend<fused>(low_low, column.low_weight, low_high, column.high_weight);
  T high = blend<fused>(high_low, column.low_weight, high_high, column.high_weight);
  return blend<fused>(low, row.low_weight, high, row.high_weight);
}

template <bool fused, typename T>
__global__ void paste_kernel(
    const T* masks, const int64_t* boxes, int64_t count, int64_t side, int64_t height, int64_t width, T threshold,
    bool fused_places, bool* images) {
  for (int64_t i = first_item(); i < count * height * width; i += item_stride()) {
    int64_t x = i % width, y = i / width % height, mask = i / width / height;
    const int64_t* box = boxes + 4 * mask;
    Window window = window_of(box, height, width);
    bool is_covered = x >= window.left && x < window.right && y >= window.top && y < window.bottom;
    Bordered<T> bordered{masks + mask * side * side, side};
    images[i] = is_covered && probability_at<fused>(bordered, box, y, x, fused_places) > threshold;
  }
}

template <bool fused, typename T>
void paste(
    const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold, bool fused_places,
    Tensor& images) {
  launch(
      paste_kernel<fused, T>, blocks_for(images.numel()), threads_per_block, stream_of(masks),
      masks.const_data_ptr<T>(), boxes.const_data_ptr<int64_t>(), masks.size(0), masks.size(1), height, width,
      static_cast<T>(threshold), fused_places, images.mutable_data_ptr<bool>());
}

Tensor paste_masks(
    Tensor masks, Tensor boxes, int64_t height, int64_t width, double threshold, bool fused, bool fused_places) {
  torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  check_size(height, width);
  masks = as_contiguous(masks);
  boxes = as_contiguous(boxes);
  Tensor images = torch::stable::new_empty(masks, {masks.size(0), height, width}, ScalarType::Bool);
  bool in_double = masks.scalar_type() == ScalarType::Double;
  auto run = in_double ? (fused ? paste<true, double> : paste<false, double>)
                       : (fused ? paste<true, float> : paste<false, float>);
  run(masks, boxes, height, width, threshold, fused_places, images);
  return images;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("paste_masks", TORCH_BOX(&paste_masks));
}

}  // namespace detkit
