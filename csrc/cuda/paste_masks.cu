// Masks pasted into images on CUDA: a thread for each pixel that a box covers, or, where they are encoded, for each
// column. The arithmetic is that of the CPU, to the last bit.
#include "../paste_masks.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "../image_masks.h"
#include "launch.h"
#include "run_encoder.h"

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

// The images of a batch, passed by value.
struct Images {
  static constexpr int most = 64;
  int count;
  ImageMasks all[most];

  explicit Images(const std::vector<ImageMasks>& images) : count(static_cast<int>(images.size())) {
    STD_TORCH_CHECK(images.size() <= most, "masks of ", images.size(), " images at once, more than ", most);
    std::copy(images.begin(), images.end(), all);
  }

  // The image among whose masks, or columns, this one is.
  __device__ const ImageMasks& of_mask(int64_t mask) const {
    int i = 0;
    while (i + 1 < count && mask >= all[i + 1].first_mask) ++i;
    return all[i];
  }
  __device__ const ImageMasks& of_column(int64_t column) const {
    int i = 0;
    while (i + 1 < count && column >= all[i + 1].first_column) ++i;
    return all[i];
  }
};

// Masks and their boxes.
template <typename T>
struct Pasting {
  const T* masks;
  const int64_t* boxes;
  int64_t side;
  T threshold;
  bool fused_places;

  template <bool fused>
  __device__ bool is_inside(int64_t mask, int64_t y, int64_t x) const {
    Bordered<T> bordered{masks + mask * side * side, side};
    return probability_at<fused>(bordered, boxes + 4 * mask, y, x, fused_places) > threshold;
  }
};

constexpr int blocks_per_mask = 8;

// Pixels that no box covers are zero already.
template <bool fused, typename T>
__global__ void paste_kernel(Images images, Pasting<T> pasting, bool* pixels) {
  int64_t mask = blockIdx.x;
  const ImageMasks& image = images.of_mask(mask);
  Window window = window_of(pasting.boxes + 4 * mask, image.height, image.width);
  bool* own = pixels + image.first_pixel + (mask - image.first_mask) * image.height * image.width;
  for (int64_t y = window.top + blockIdx.y; y < window.bottom; y += gridDim.y) {
    for (int64_t x = window.left + threadIdx.x; x < window.right; x += blockDim.x) {
      own[y * image.width + x] = pasting.template is_inside<fused>(mask, y, x);
    }
  }
}

// What encode() asks for, without the pixels.
template <bool fused, typename T>
struct PastedMasks {
  Images images;
  Pasting<T> pasting;
  int64_t count, column_count;

  __device__ int64_t columns() const { return column_count; }
  __device__ int64_t first_column(int64_t mask) const {
    if (mask == count) return column_count;
    const ImageMasks& image = images.of_mask(mask);
    return image.first_column + (mask - image.first_mask) * image.width;
  }
  __device__ int64_t mask_of(int64_t column) const {
    const ImageMasks& image = images.of_column(column);
    return image.first_mask + (column - image.first_column) / image.width;
  }
  __device__ int64_t pixels(int64_t mask) const {
    const ImageMasks& image = images.of_mask(mask);
    return image.height * image.width;
  }

  // Where a box is as high as the image, the pixel before a column's first is the last one of the column before.
  template <typename Visit>
  __device__ void for_each_change(int64_t column, const Visit& visit) const {
    const ImageMasks& image = images.of_column(column);
    int64_t mask = image.first_mask + (column - image.first_column) / image.width;
    int64_t x = (column - image.first_column) % image.width, height = image.height;
    Window window = window_of(pasting.boxes + 4 * mask, height, image.width);
    if (window.is_empty() || x < window.left || x >= window.right) return;
    bool is_whole = window.height() == height;
    bool before = is_whole && x > window.left && pasting.template is_inside<fused>(mask, height - 1, x - 1);
    for (int64_t y = window.top; y < window.bottom; ++y) {
      bool own = pasting.template is_inside<fused>(mask, y, x);
      if (own != before) visit(static_cast<int32_t>(x * height + y));
      before = own;
    }
    bool goes_on = is_whole && x + 1 < window.right;
    int64_t end = x * height + window.bottom;
    if (before && !goes_on && end < height * image.width) visit(static_cast<int32_t>(end));
  }
};

// Calls `run` with what the arithmetic depends on: `run.template operator()<fused, T>()`.
template <typename Run>
auto with_arithmetic(const Tensor& masks, bool fused, const Run& run) {
  if (masks.scalar_type() == ScalarType::Double) {
    return fused ? run.template operator()<true, double>() : run.template operator()<false, double>();
  }
  return fused ? run.template operator()<true, float>() : run.template operator()<false, float>();
}

template <typename T>
Pasting<T> pasting_of(const Tensor& masks, const Tensor& boxes, double threshold, bool fused_places) {
  return {
      masks.const_data_ptr<T>(), boxes.const_data_ptr<int64_t>(), masks.size(1), static_cast<T>(threshold),
      fused_places};
}

Tensor paste_masks(
    Tensor masks, Tensor boxes, std::vector<int64_t> counts, std::vector<int64_t> heights, std::vector<int64_t> widths,
    double threshold, bool fused, bool fused_places) {
  torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  masks = as_contiguous(masks);
  boxes = as_contiguous(boxes);
  std::vector<ImageMasks> images = masks_of_images(counts, heights, widths, masks.size(0));
  int64_t pixel_count = images.empty() ? 0 : images.back().last_pixel();
  Tensor pixels = torch::stable::new_empty(masks, {pixel_count}, ScalarType::Bool);
  torch::stable::zero_(pixels);
  if (pixel_count == 0) return pixels;
  dim3 blocks(static_cast<unsigned>(masks.size(0)), blocks_per_mask);
  with_arithmetic(masks, fused, [&]<bool fusing, typename T>() {
    launch(
        paste_kernel<fusing, T>, blocks, threads_per_block, stream_of(masks), Images(images),
        pasting_of<T>(masks, boxes, threshold, fused_places), pixels.mutable_data_ptr<bool>());
  });
  return pixels;
}

std::tuple<Tensor, Tensor> paste_masks_to_runs(
    Tensor masks, Tensor boxes, std::vector<int64_t> counts, std::vector<int64_t> heights, std::vector<int64_t> widths,
    double threshold, bool fused, bool fused_places) {
  torch::stable::accelerator::DeviceGuard guard(masks.get_device_index());
  masks = as_contiguous(masks);
  boxes = as_contiguous(boxes);
  std::vector<ImageMasks> images = masks_of_images(counts, heights, widths, masks.size(0));
  int64_t columns = images.empty() ? 0 : images.back().last_column();
  return with_arithmetic(masks, fused, [&]<bool fusing, typename T>() {
    PastedMasks<fusing, T> pasted{
        Images(images), pasting_of<T>(masks, boxes, threshold, fused_places), masks.size(0), columns};
    return encode(pasted, columns, masks);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("paste_masks", TORCH_BOX(&paste_masks));
  m.impl("paste_masks_to_runs", TORCH_BOX(&paste_masks_to_runs));
}

}  // namespace detkit
