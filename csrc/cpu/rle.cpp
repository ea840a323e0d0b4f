// Run-length encoded masks on the CPU, a mask at a time.
#include "../rle.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "../mask_overlap.h"
#include "../polygon.h"
#include "../rle_string.h"
#include "memory.h"
#include "run_lists.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// So many runs are worth a thread.
constexpr int64_t runs_per_task = 1 << 14;

// Masks whose runs are checked to be runs; those that are of a size also to fill it.
class PackedMasks {
 public:
  PackedMasks(const Tensor& counts, const Tensor& offsets)
      : counts_(as_contiguous(counts)), offsets_(as_contiguous(offsets)) {
    runs_ = counts_.const_data_ptr<int32_t>();
    begins_ = checked_offsets("offsets", offsets_, counts_.numel());
    STD_TORCH_CHECK(
        std::all_of(runs_, runs_ + counts_.numel(), [](int32_t run) { return run >= 0; }),
        "counts must not be negative");
  }

  PackedMasks(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width)
      : PackedMasks(counts, offsets) {
    check_size(height, width);
    height_ = static_cast<uint32_t>(height);
    width_ = static_cast<uint32_t>(width);
    for (int64_t i = 0; i < size(); ++i) {
      RunsView mask = (*this)[i];
      uint64_t sum = 0;
      for (size_t j = 0; j < mask.count; ++j) sum += mask.runs[j];
      STD_TORCH_CHECK(
          sum == mask.pixels(), "the runs of mask ", i, " sum to ", sum, ", but ", height, " x ", width,
          " pixels are ", mask.pixels());
    }
  }

  int64_t size() const { return offsets_.numel() - 1; }
  int64_t run_count() const { return counts_.numel(); }

  RunsView operator[](int64_t i) const {
    size_t count = begins_[i + 1] - begins_[i];
    return {height_, width_, reinterpret_cast<const uint32_t*>(runs_ + begins_[i]), count};
  }

  std::vector<RunsView> views() const {
    std::vector<RunsView> views;
    views.reserve(size());
    for (int64_t i = 0; i < size(); ++i) views.push_back((*this)[i]);
    return views;
  }

 private:
  Tensor counts_, offsets_;
  const int32_t* runs_;
  const int64_t* begins_;
  uint32_t height_ = 0, width_ = 0;
};

// Calls `make(i, runs)` for each mask in threads, and packs what it makes. What it throws is raised with the index.
template <typename Make>
std::tuple<Tensor, Tensor> make_runs(
    const Tensor& like, const char* name, int64_t count, int64_t masks_per_task, const Make& make) {
  RunLists runs(count);
  std::vector<std::string> errors(count);  // thrown errors would not leave the threads as they are
  torch::stable::parallel_for(0, count, masks_per_task, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      try {
        make(i, runs[i]);
      } catch (const std::invalid_argument& error) {
        errors[i] = error.what();
      }
    }
  });
  for (int64_t i = 0; i < count; ++i) {
    if (!errors[i].empty()) throw std::runtime_error(std::string(name) + " " + std::to_string(i) + ": " + errors[i]);
  }
  return pack(like, runs, ScalarType::Int);
}

std::tuple<Tensor, Tensor> masks_to_runs(Tensor masks) {
  masks = as_contiguous(masks);
  int64_t count = masks.size(0), height = masks.size(1), width = masks.size(2);
  check_size(height, width);
  const uint8_t* pixels = static_cast<const uint8_t*>(masks.const_data_ptr());
  RunLists runs(count);
  torch::stable::parallel_for(
      0, count, masks_per_task(count, masks.numel(), pixels_per_task), [&](int64_t first, int64_t last) {
        MaskEncoder encoder;
        for (int64_t i = first; i < last; ++i) {
          encoder.encode(
              pixels + i * height * width, static_cast<uint32_t>(height), static_cast<uint32_t>(width), runs[i]);
        }
      });
  return pack(masks, runs, ScalarType::Int);
}

Tensor runs_to_masks(Tensor counts, Tensor offsets, int64_t height, int64_t width) {
  PackedMasks masks(counts, offsets, height, width);
  Tensor result = torch::stable::new_empty(counts, {masks.size(), height, width}, ScalarType::Bool);
  uint8_t* pixels = static_cast<uint8_t*>(result.mutable_data_ptr());
  prefer_large_pages(pixels, result.numel());
  torch::stable::parallel_for(
      0, masks.size(), masks_per_task(masks.size(), result.numel(), pixels_per_task),
      [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          uint8_t* own = pixels + i * height * width;
          std::fill_n(own, height * width, uint8_t(0));
          decode(masks[i], own);
        }
      });
  return result;
}

std::tuple<Tensor, Tensor> runs_to_strings(Tensor counts, Tensor offsets) {
  PackedMasks masks(counts, offsets);
  std::vector<std::string> strings(masks.size());
  torch::stable::parallel_for(
      0, masks.size(), masks_per_task(masks.size(), masks.run_count(), runs_per_task),
      [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) compress(masks[i].runs, masks[i].count, strings[i]);
      });
  return pack(counts, strings, ScalarType::Byte);
}

std::tuple<Tensor, Tensor> strings_to_runs(Tensor characters, Tensor offsets, int64_t height, int64_t width) {
  check_size(height, width);
  characters = as_contiguous(characters);
  offsets = as_contiguous(offsets);
  const char* text = static_cast<const char*>(characters.const_data_ptr());
  const int64_t* begins = checked_offsets("offsets", offsets, characters.numel());
  int64_t count = offsets.numel() - 1, per_task = masks_per_task(count, characters.numel(), runs_per_task);
  return make_runs(characters, "mask", count, per_task, [&](int64_t i, std::vector<uint32_t>& runs) {
    std::string_view own(text + begins[i], begins[i + 1] - begins[i]);
    decompress(own, static_cast<uint32_t>(height), static_cast<uint32_t>(width), runs);
  });
}

std::tuple<Tensor, Tensor> polygons_to_runs(
    Tensor coordinates, Tensor polygon_offsets, Tensor object_offsets, Tensor sizes) {
  coordinates = as_contiguous(coordinates);
  polygon_offsets = as_contiguous(polygon_offsets);
  object_offsets = as_contiguous(object_offsets);
  sizes = as_contiguous(sizes);
  int64_t corner_count = coordinates.numel() / 2, object_count = object_offsets.numel() - 1;
  const double* corners = coordinates.const_data_ptr<double>();
  const int64_t* corner_begins = checked_offsets("polygon_offsets", polygon_offsets, corner_count);
  const int64_t* polygon_begins = checked_offsets("object_offsets", object_offsets, polygon_offsets.numel() - 1);
  const int64_t* size_data = sizes.const_data_ptr<int64_t>();
  STD_TORCH_CHECK(sizes.numel() == 2 * object_count, "sizes must be (", object_count, ", 2)");
  for (int64_t i = 0; i < object_count; ++i) check_size(size_data[2 * i], size_data[2 * i + 1]);
  int64_t per_task = masks_per_task(object_count, corner_count, runs_per_task);
  return make_runs(coordinates, "object", object_count, per_task, [&](int64_t i, std::vector<uint32_t>& runs) {
    uint32_t height = static_cast<uint32_t>(size_data[2 * i]), width = static_cast<uint32_t>(size_data[2 * i + 1]);
    int64_t first = polygon_begins[i], polygon_count = polygon_begins[i + 1] - first;
    runs = ObjectFiller().fill(corners, corner_begins + first, polygon_count, height, width);
  });
}

Tensor run_areas(Tensor counts, Tensor offsets) {
  PackedMasks masks(counts, offsets);
  Tensor result = torch::stable::new_empty(counts, {masks.size()}, ScalarType::Long);
  int64_t* areas = result.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < masks.size(); ++i) areas[i] = area(masks[i]);
  return result;
}

Tensor run_boxes(Tensor counts, Tensor offsets, int64_t height, int64_t width) {
  PackedMasks masks(counts, offsets, height, width);
  Tensor result = torch::stable::new_empty(counts, {masks.size(), 4}, ScalarType::Float);
  float* boxes = result.mutable_data_ptr<float>();
  for (int64_t i = 0; i < masks.size(); ++i) {
    PixelBox box = area(masks[i]) > 0 ? bounding_box(masks[i]) : PixelBox{0, 0, 0, 0};
    double corners[] = {box.x, box.y, box.x + box.width, box.y + box.height};
    std::copy(corners, corners + 4, boxes + 4 * i);
  }
  return result;
}

Tensor run_iou(
    Tensor counts1, Tensor offsets1, Tensor counts2, Tensor offsets2, int64_t height, int64_t width, Tensor iscrowd) {
  PackedMasks masks(counts1, offsets1, height, width), objects(counts2, offsets2, height, width);
  iscrowd = as_contiguous(iscrowd);
  STD_TORCH_CHECK(iscrowd.numel() == objects.size(), "iscrowd must be (", objects.size(), ",)");
  const uint8_t* crowds = static_cast<const uint8_t*>(iscrowd.const_data_ptr());
  Tensor result = torch::stable::new_empty(counts1, {masks.size(), objects.size()}, ScalarType::Double);
  mask_iou(masks.views(), objects.views(), crowds, result.mutable_data_ptr<double>());
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("masks_to_runs", TORCH_BOX(&masks_to_runs));
  m.impl("runs_to_masks", TORCH_BOX(&runs_to_masks));
  m.impl("runs_to_strings", TORCH_BOX(&runs_to_strings));
  m.impl("strings_to_runs", TORCH_BOX(&strings_to_runs));
  m.impl("polygons_to_runs", TORCH_BOX(&polygons_to_runs));
  m.impl("run_areas", TORCH_BOX(&run_areas));
  m.impl("run_boxes", TORCH_BOX(&run_boxes));
  m.impl("run_iou", TORCH_BOX(&run_iou));
}

}  // namespace detkit
