// Masks pasted into images on the CPU. Only the part of the image that a box covers is computed, row by row.
#include "../paste_masks.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "../image_masks.h"
#include "../rle.h"
#include "memory.h"
#include "run_lists.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Where the columns of a window lie between those of a mask.
template <typename T>
struct Columns {
  std::vector<int32_t> low, high;
  std::vector<T> low_weights, high_weights;

  int64_t count() const { return low.size(); }
};

template <bool fused, typename T>
DETKIT_FUSING_MACHINE void place_columns(
    const Stretch<T>& stretch, bool rounds_once, int64_t first, int64_t count, int32_t* low, int32_t* high,
    T* low_weights, T* high_weights) {
  for (int64_t i = 0; i < count; ++i) {
    Between<T> place = between<fused>(stretch, first + i, rounds_once);
    low[i] = place.low;
    high[i] = place.high;
    low_weights[i] = place.low_weight;
    high_weights[i] = place.high_weight;
  }
}

// A row of the mask stretched to the columns.
template <bool fused, typename T>
DETKIT_FUSING_MACHINE void stretch_row(
    const T* cells, int64_t count, const int32_t* low, const int32_t* high, const T* low_weights,
    const T* high_weights, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = blend<fused>(cells[low[i]], low_weights[i], cells[high[i]], high_weights[i]);
  }
}

// Whether each of a row of pixels is inside. In blocks of whole numbers, which compilers can vectorize, unlike bytes.
template <typename T, typename Probability>
DETKIT_INLINE void compare(const Probability& probability, T threshold, int64_t count, uint8_t* out) {
  constexpr int64_t block = 64;
  int32_t inside[block];
  int64_t first = 0;
  for (; first + block <= count; first += block) {
    for (int64_t i = 0; i < block; ++i) inside[i] = probability(first + i) > threshold ? 1 : 0;
    for (int64_t i = 0; i < block; ++i) out[first + i] = static_cast<uint8_t>(inside[i]);
  }
  for (; first < count; ++first) out[first] = probability(first) > threshold;
}

// A row of pixels between two such rows.
template <bool fused, typename T>
DETKIT_FUSING_MACHINE void blend_rows(
    const T* low, const T* high, T low_weight, T high_weight, T threshold, int64_t count, uint8_t* out) {
  auto probability = [=](int64_t i) __attribute__((always_inline)) {
    return blend<fused>(low[i], low_weight, high[i], high_weight);
  };
  compare(probability, threshold, count, out);
}

// A row of pixels between two rows of the mask, in one step.
template <bool fused, typename T>
DETKIT_FUSING_MACHINE void blend_cells(
    const T* low_row, const T* high_row, const Between<T>& row, int64_t count, const int32_t* low,
    const int32_t* high, const T* low_weights, const T* high_weights, T threshold, uint8_t* out) {
  auto probability = [=](int64_t i) __attribute__((always_inline)) {
    return blend_in_one_step<fused>(
        low_row[low[i]], low_row[high[i]], high_row[low[i]], high_row[high[i]], row, low_weights[i], high_weights[i]);
  };
  compare(probability, threshold, count, out);
}

// Pastes masks one by one, and keeps its memory for the next.
template <bool fused, typename T>
class Paster {
 public:
  Paster(int64_t side, T threshold, bool fused_places)
      : side_(side), threshold_(threshold), fused_places_(fused_places), cells_((side + 2) * (side + 2)) {}

  // Writes the pixels of a window that is not empty; `stride` is the distance from row to row.
  void paste(const T* mask, const int64_t* box, const Window& window, uint8_t* out, int64_t stride) {
    for (int64_t row = 0; row < side_; ++row) {
      std::copy_n(mask + row * side_, side_, cells_.data() + (row + 1) * (side_ + 2) + 1);
    }
    Stretch<T> across(side_ + 2, box[0], box[2]), down(side_ + 2, box[1], box[3]);
    bool one_step = in_one_step(across, down), rounds_once = one_step || fused_places_;
    place(across, rounds_once, window.left - box[0], window.width());
    stretched_rows_[0] = stretched_rows_[1] = -1;
    for (int64_t y = window.top; y < window.bottom; ++y, out += stride) {
      Between<T> row = between<fused>(down, y - box[1], rounds_once);
      if (one_step) {
        blend_cells<fused>(
            row_of_cells(row.low), row_of_cells(row.high), row, columns_.count(), columns_.low.data(),
            columns_.high.data(), columns_.low_weights.data(), columns_.high_weights.data(), threshold_, out);
      } else {
        const T *low = stretched_row(row.low), *high = stretched_row(row.high);
        blend_rows<fused>(low, high, row.low_weight, row.high_weight, threshold_, columns_.count(), out);
      }
    }
  }

 private:
  void place(const Stretch<T>& stretch, bool rounds_once, int64_t first, int64_t count) {
    columns_.low.resize(count);
    columns_.high.resize(count);
    columns_.low_weights.resize(count);
    columns_.high_weights.resize(count);
    place_columns<fused>(
        stretch, rounds_once, first, count, columns_.low.data(), columns_.high.data(), columns_.low_weights.data(),
        columns_.high_weights.data());
  }

  const T* row_of_cells(int32_t row) const { return cells_.data() + row * (side_ + 2); }

  // Rows are asked for in pairs of neighbors, downwards, so the last two are kept.
  const T* stretched_row(int32_t row) {
    std::vector<T>& stretched = stretched_[row % 2];
    if (stretched_rows_[row % 2] != row) {
      stretched.resize(columns_.count());
      stretch_row<fused>(
          row_of_cells(row), columns_.count(), columns_.low.data(), columns_.high.data(),
          columns_.low_weights.data(), columns_.high_weights.data(), stretched.data());
      stretched_rows_[row % 2] = row;
    }
    return stretched.data();
  }

  int64_t side_;
  T threshold_;
  bool fused_places_;
  std::vector<T> cells_;  // of the mask, with its border
  Columns<T> columns_;
  std::vector<T> stretched_[2];
  int32_t stretched_rows_[2];
};

void check_boxes(const Tensor& boxes) {
  const int64_t *data = boxes.const_data_ptr<int64_t>(), *end = data + boxes.numel();
  constexpr int64_t farthest = int64_t(1) << 31;
  STD_TORCH_CHECK(
      std::all_of(data, end, [](int64_t edge) { return -farthest <= edge && edge <= farthest; }),
      "boxes must be within +-2^31 pixels");
}

// Masks, their boxes, and the images that they are for.
template <typename T>
struct Pasting {
  const T* cells;
  const int64_t* boxes;
  int64_t count, side;
  const std::vector<ImageMasks>& images;
  T threshold;
  bool fused_places;

  Pasting(
      const Tensor& masks, const Tensor& boxes, const std::vector<ImageMasks>& images, double threshold,
      bool fused_places)
      : cells(masks.const_data_ptr<T>()),
        boxes(boxes.const_data_ptr<int64_t>()),
        count(masks.size(0)),
        side(masks.size(1)),
        images(images),
        threshold(static_cast<T>(threshold)),
        fused_places(fused_places) {}

  const T* mask(int64_t i) const { return cells + i * side * side; }
  const int64_t* box(int64_t i) const { return boxes + 4 * i; }
  const ImageMasks& image(int64_t i) const {
    auto follows = [](int64_t mask, const ImageMasks& image) { return mask < image.last_mask(); };
    return *std::upper_bound(images.begin(), images.end(), i, follows);
  }
};

int64_t pixels_of(const std::vector<ImageMasks>& images) { return images.empty() ? 0 : images.back().last_pixel(); }

template <bool fused, typename T>
void fill_images(const Pasting<T>& pasting, uint8_t* pixels) {
  int64_t per_task = masks_per_task(pasting.count, pixels_of(pasting.images), pixels_per_task);
  torch::stable::parallel_for(0, pasting.count, per_task, [&](int64_t first, int64_t last) {
    Paster<fused, T> paster(pasting.side, pasting.threshold, pasting.fused_places);
    for (int64_t i = first; i < last; ++i) {
      const ImageMasks& image = pasting.image(i);
      int64_t image_pixels = image.height * image.width;
      uint8_t* pasted = pixels + image.first_pixel + (i - image.first_mask) * image_pixels;
      std::fill_n(pasted, image_pixels, uint8_t(0));
      Window window = window_of(pasting.box(i), image.height, image.width);
      if (window.is_empty()) continue;
      uint8_t* corner = pasted + window.top * image.width + window.left;
      paster.paste(pasting.mask(i), pasting.box(i), window, corner, image.width);
    }
  });
}

template <bool fused, typename T>
RunLists make_runs(const Pasting<T>& pasting) {
  RunLists runs(pasting.count);
  torch::stable::parallel_for(0, pasting.count, 1, [&](int64_t first, int64_t last) {
    Paster<fused, T> paster(pasting.side, pasting.threshold, pasting.fused_places);
    MaskEncoder encoder;
    std::vector<uint8_t> pixels;
    for (int64_t i = first; i < last; ++i) {
      const ImageMasks& image = pasting.image(i);
      Window window = window_of(pasting.box(i), image.height, image.width);
      if (!window.is_empty()) {
        pixels.resize(window.width() * window.height());
        paster.paste(pasting.mask(i), pasting.box(i), window, pixels.data(), window.width());
      }
      uint32_t height = static_cast<uint32_t>(image.height), width = static_cast<uint32_t>(image.width);
      encoder.encode_window(pixels.data(), window, height, width, runs[i]);
    }
  });
  return runs;
}

// Calls `run` with what the arithmetic depends on: `run.template operator()<fused, T>()`.
template <typename Run>
auto with_arithmetic(const Tensor& masks, bool fused, const Run& run) {
  if (masks.scalar_type() == ScalarType::Double) {
    return fused ? run.template operator()<true, double>() : run.template operator()<false, double>();
  }
  return fused ? run.template operator()<true, float>() : run.template operator()<false, float>();
}

Tensor paste_masks(
    Tensor masks, Tensor boxes, std::vector<int64_t> counts, std::vector<int64_t> heights, std::vector<int64_t> widths,
    double threshold, bool fused, bool fused_places) {
  masks = as_contiguous(masks);
  boxes = as_contiguous(boxes);
  std::vector<ImageMasks> images = masks_of_images(counts, heights, widths, masks.size(0));
  check_boxes(boxes);
  Tensor pixels = torch::stable::new_empty(masks, {pixels_of(images)}, ScalarType::Bool);
  prefer_large_pages(pixels.mutable_data_ptr(), pixels.numel());
  with_arithmetic(masks, fused, [&]<bool fusing, typename T>() {
    fill_images<fusing>(
        Pasting<T>(masks, boxes, images, threshold, fused_places), static_cast<uint8_t*>(pixels.mutable_data_ptr()));
  });
  return pixels;
}

std::tuple<Tensor, Tensor> paste_masks_to_runs(
    Tensor masks, Tensor boxes, std::vector<int64_t> counts, std::vector<int64_t> heights, std::vector<int64_t> widths,
    double threshold, bool fused, bool fused_places) {
  masks = as_contiguous(masks);
  boxes = as_contiguous(boxes);
  std::vector<ImageMasks> images = masks_of_images(counts, heights, widths, masks.size(0));
  check_boxes(boxes);
  RunLists runs = with_arithmetic(masks, fused, [&]<bool fusing, typename T>() {
    return make_runs<fusing>(Pasting<T>(masks, boxes, images, threshold, fused_places));
  });
  return pack(masks, runs, ScalarType::Int);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("paste_masks", TORCH_BOX(&paste_masks));
  m.impl("paste_masks_to_runs", TORCH_BOX(&paste_masks_to_runs));
}

}  // namespace detkit
