// Which detections find an object by their masks, and what is measured of masks; see ../coco.h.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "../mask_overlap.h"
#include "../mask_size.h"
#include "../polygon.h"
#include "../rle_string.h"
#include "coco_matching.h"
#include "run_lists.h"

namespace detkit::coco {
namespace {

// Memory for numbers that are about to be written, which is kept for the next.
class Buffer {
 public:
  uint32_t* of_size(size_t size) {
    if (size > memory_.size()) memory_.resize(std::max(size, 2 * memory_.size()));
    return memory_.data();
  }

 private:
  std::vector<uint32_t> memory_;
};

// The first thing that threads found to be wrong, which errors thrown in them could not tell.
class FirstError {
 public:
  void note(int64_t index, const char* what) {
    std::lock_guard lock(mutex_);
    if (index_ < 0 || index < index_) {
      index_ = index;
      what_ = what;
    }
  }
  void raise() const {
    if (index_ >= 0) throw std::runtime_error("mask " + std::to_string(index_) + ": " + what_);
  }

 private:
  std::mutex mutex_;
  int64_t index_ = -1;
  std::string what_;
};

// Compressed run lengths of N masks, of which the offsets and sizes are checked.
class Masks {
 public:
  Masks(const Tensor& strings, const Tensor& offsets, const Tensor& sizes)
      : strings_(torch::stable::contiguous(strings)),
        offsets_(torch::stable::contiguous(offsets)),
        sizes_(torch::stable::contiguous(sizes)),
        text_(reinterpret_cast<const char*>(strings_.const_data_ptr<uint8_t>())),
        begins_(checked_offsets("offsets", offsets_, strings_.numel())),
        sides_(sizes_.const_data_ptr<int64_t>()) {
    STD_TORCH_CHECK(
        sizes_.numel() == 2 * count(), "sizes must be (", count(), ", 2), one for each of the masks");
    for (int64_t i = 0; i < count(); ++i) check_size(sides_[2 * i], sides_[2 * i + 1]);
  }

  int64_t count() const { return offsets_.numel() - 1; }
  uint32_t height(int64_t i) const { return static_cast<uint32_t>(sides_[2 * i]); }
  uint32_t width(int64_t i) const { return static_cast<uint32_t>(sides_[2 * i + 1]); }
  std::string_view text(int64_t i) const { return {text_ + begins_[i], size_t(begins_[i + 1] - begins_[i])}; }

  // The runs of a mask, written to memory for as many as its text has characters; none where it is wrong.
  RunsView read(int64_t i, uint32_t* runs, FirstError& error) const {
    size_t count = 0;
    if (!QuickStringReader::read(text(i), uint64_t(height(i)) * width(i), runs, count)) {
      try {
        std::vector<uint32_t> unused;
        CarefulStringReader::read(text(i), height(i), width(i), unused);
      } catch (const std::invalid_argument& reason) {
        error.note(i, reason.what());
      }
      count = 0;
    }
    return {height(i), width(i), runs, count};
  }

 private:
  Tensor strings_, offsets_, sizes_;
  const char* text_;
  const int64_t *begins_, *sides_;
};

// Masks and what is known of them: the pixels of each, NaN for one with empty runs, and its box.
struct MeasuredMasks {
  const Masks& masks;
  const double *pixels, *boxes;

  bool has_empty_run(int64_t i) const { return std::isnan(pixels[i]); }
  PixelBox box(int64_t i) const { return {boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]}; }
};

// Masks of a scene, read when first they are needed.
class SceneMasks {
 public:
  SceneMasks(const MeasuredMasks& masks, FirstError& error) : masks_(masks), error_(error) {}

  void begin_scene(const int64_t* indices, int64_t count) {
    indices_ = indices;
    places_.assign(count, nowhere);
    spans_.clear();
    used_ = 0;
    size_t size = 0;
    for (int64_t i = 0; i < count; ++i) size += 2 * masks_.masks.text(indices[i]).size();
    memory_.of_size(size);
  }

  const Spans& at(int64_t i) {
    if (places_[i] == nowhere) {
      places_[i] = spans_.size();
      uint32_t* runs = memory_.of_size(0) + used_;
      RunsView mask = masks_.masks.read(indices_[i], runs, error_);
      bool has_empty_run = masks_.has_empty_run(indices_[i]);
      uint32_t pixels = has_empty_run ? area(mask) : static_cast<uint32_t>(masks_.pixels[indices_[i]]);
      spans_.emplace_back(mask, pixels, has_empty_run, runs + mask.count);
      used_ += 2 * mask.count;
    }
    return spans_[places_[i]];
  }

 private:
  static constexpr size_t nowhere = -1;

  MeasuredMasks masks_;
  FirstError& error_;
  const int64_t* indices_ = nullptr;
  Buffer memory_;
  size_t used_ = 0;
  std::vector<size_t> places_;  // among the spans that are read
  std::vector<Spans> spans_;
};

// The most that the overlap of two masks can be, by their measures alone; NaN where one has an empty run.
double most_overlap(
    const PixelBox& box, double area, const PixelBox& other, double other_area, bool with_crowd) {
  double width = std::min(box.x + box.width, other.x + other.width) - std::max(box.x, other.x);
  double height = std::min(box.y + box.height, other.y + other.height) - std::max(box.y, other.y);
  double smaller = area < other_area ? area : other_area, in_both = width * height;
  if (in_both < smaller) smaller = in_both;
  return smaller / (with_crowd ? area : area + other_area - smaller);
}

// Compares the masks of a scene, those that may be similar enough to match. One detection after another is held, beside
// all objects.
class MaskSimilarity {
 public:
  MaskSimilarity(
      const MeasuredMasks& found, const MeasuredMasks& objects, const bool* crowd, double lowest, FirstError& error)
      : found_(found), objects_(objects), crowd_(crowd), lowest_(lowest), read_found_(found, error),
        read_objects_(objects, error) {}

  void operator()(const Scene& scene, std::vector<double>& similarities) {
    read_objects_.begin_scene(scene.objects, scene.object_count);
    double* next = similarities.data();
    for (int64_t d = 0; d < scene.detection_count; ++d) {
      read_found_.begin_scene(scene.detections + d, 1);
      for (int64_t g = 0; g < scene.object_count; ++g) *next++ = compare(scene.detections[d], scene.objects[g], g);
    }
  }

 private:
  // 0 too where the similarity is too low to matter.
  double compare(int64_t detection, int64_t object, int64_t g) {
    const Masks &found = found_.masks, &objects = objects_.masks;
    PixelBox box = found_.box(detection), object_box = objects_.box(object);
    bool is_crowd = crowd_[object];
    if (box_overlap(box, object_box, is_crowd) <= 0) return 0;
    if (found.height(detection) != objects.height(object) || found.width(detection) != objects.width(object)) return -1;
    double most = most_overlap(box, found_.pixels[detection], object_box, objects_.pixels[object], is_crowd);
    return most < lowest_ ? 0 : mask_overlap(read_found_.at(0), read_objects_.at(g), is_crowd);
  }

  MeasuredMasks found_, objects_;
  const bool* crowd_;
  double lowest_;
  SceneMasks read_found_, read_objects_;
};

Result match_masks(
    Tensor scores, Tensor images, Tensor categories, Tensor areas, Tensor object_images, Tensor object_categories,
    Tensor object_areas, Tensor object_crowd, Tensor object_ignored, Tensor thresholds, Tensor area_ranges,
    int64_t max_detections, Tensor strings, Tensor offsets, Tensor sizes, Tensor pixels, Tensor boxes,
    Tensor object_strings, Tensor object_offsets, Tensor object_sizes, Tensor object_pixels, Tensor object_boxes) {
  Problem problem(
      scores, images, categories, areas, object_images, object_categories, object_areas, object_crowd, object_ignored,
      thresholds, area_ranges, max_detections);
  Masks masks(strings, offsets, sizes), object_masks(object_strings, object_offsets, object_sizes);
  for (Tensor* measure : {&pixels, &boxes, &object_pixels, &object_boxes}) {
    *measure = torch::stable::contiguous(*measure);
  }
  int64_t count = problem.detection_count(), object_count = problem.object_count();
  STD_TORCH_CHECK(
      masks.count() == count && pixels.numel() == count && boxes.numel() == 4 * count &&
          object_masks.count() == object_count && object_pixels.numel() == object_count &&
          object_boxes.numel() == 4 * object_count,
      "coco_match: each detection and object must have a mask, its pixels and its box");
  MeasuredMasks found{masks, pixels.const_data_ptr<double>(), boxes.const_data_ptr<double>()};
  MeasuredMasks objects{object_masks, object_pixels.const_data_ptr<double>(), object_boxes.const_data_ptr<double>()};
  const bool* is_crowd = problem.object_crowd.const_data_ptr<bool>();
  double lowest = problem.lowest_threshold();
  FirstError error;
  Result result = match(problem, [&] { return MaskSimilarity(found, objects, is_crowd, lowest, error); });
  error.raise();
  return result;
}

// The pixels of each mask, the box x y width height around them, and whether a run after the first is empty.
std::tuple<Tensor, Tensor, Tensor> measure_masks(Tensor strings, Tensor offsets, Tensor sizes) {
  Masks masks(strings, offsets, sizes);
  int64_t count = masks.count();
  Tensor areas = torch::stable::new_empty(sizes, {count}, ScalarType::Double);
  Tensor boxes = torch::stable::new_empty(sizes, {count, 4}, ScalarType::Double);
  Tensor have_empty_runs = torch::stable::new_empty(sizes, {count}, ScalarType::Bool);
  bool* empty_data = have_empty_runs.mutable_data_ptr<bool>();
  double *area_data = areas.mutable_data_ptr<double>(), *box_data = boxes.mutable_data_ptr<double>();
  FirstError error;
  torch::stable::parallel_for(0, count, 1024, [&](int64_t first, int64_t last) {
    Buffer memory;
    for (int64_t i = first; i < last; ++i) {
      RunsView mask = masks.read(i, memory.of_size(masks.text(i).size()), error);
      Measures measures = measure(mask);
      area_data[i] = measures.area;
      empty_data[i] = measures.has_empty_run;
      const double values[] = {measures.box.x, measures.box.y, measures.box.width, measures.box.height};
      std::copy(values, values + 4, box_data + 4 * i);
    }
  });
  error.raise();
  return {areas, boxes, have_empty_runs};
}

// Polygons and strings, as files have them, all to strings.
std::tuple<Tensor, Tensor> fill_masks(
    Tensor corners, Tensor polygons, Tensor objects, Tensor characters, Tensor strings, Tensor sizes) {
  corners = torch::stable::contiguous(corners);
  polygons = torch::stable::contiguous(polygons);
  objects = torch::stable::contiguous(objects);
  Masks given(characters, strings, sizes);
  int64_t count = given.count();
  const double* corner_data = corners.const_data_ptr<double>();
  const int64_t* begins = checked_offsets("polygons", polygons, corners.numel() / 2);
  const int64_t* polygon_begins = checked_offsets("objects", objects, polygons.numel() - 1);
  STD_TORCH_CHECK(objects.numel() == count + 1, "objects must be (", count + 1, ",)");
  std::vector<std::string> made(count);
  FirstError error;
  torch::stable::parallel_for(0, count, 256, [&](int64_t first, int64_t last) {
    ObjectFiller filler;
    for (int64_t i = first; i < last; ++i) {
      if (!given.text(i).empty()) {
        made[i] = given.text(i);
        continue;
      }
      try {
        const auto& runs = filler.fill(
            corner_data, begins + polygon_begins[i], polygon_begins[i + 1] - polygon_begins[i], given.height(i),
            given.width(i));
        compress(runs.data(), runs.size(), made[i]);
      } catch (const std::invalid_argument& reason) {
        error.note(i, reason.what());
      }
    }
  });
  error.raise();
  return pack(corners, made, ScalarType::Byte);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("coco_match_masks", TORCH_BOX(&match_masks));
  m.impl("coco_measure_masks", TORCH_BOX(&measure_masks));
  m.impl("coco_fill_masks", TORCH_BOX(&fill_masks));
}

}  // namespace detkit::coco
