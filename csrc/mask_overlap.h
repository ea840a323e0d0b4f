// How much run-length encoded masks overlap, and their union, equal to pycocotools' in the odd cases too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "rle.h"

namespace detkit {

// The overlap of two boxes; with a crowd, the share of the first that lies in the second.
inline double box_overlap(const PixelBox& box, const PixelBox& other, bool crowd) {
  double width = std::min(box.x + box.width, other.x + other.width) - std::max(box.x, other.x);
  double height = std::min(box.y + box.height, other.y + other.height) - std::max(box.y, other.y);
  if (width <= 0 || height <= 0) return 0;
  double common = width * height, own = box.width * box.height;
  return common / (crowd ? own : own + other.width * other.height - common);
}

// Two masks walked along together, from where one of them changes to the next such place.
class CommonRuns {
 public:
  CommonRuns(const RunsView& a, const RunsView& b) : a_(a), b_(b) {}

  bool inside_a() const { return a_.inside; }
  bool inside_b() const { return b_.inside; }
  bool at_end() const { return at_end_; }

  // The number of pixels up to the next change. A run of length 0 in both masks at once ends the walk, as it does in
  // pycocotools.
  uint32_t advance() {
    uint32_t length = std::min(a_.left, b_.left);
    a_.advance(length);
    b_.advance(length);
    at_end_ = a_.left == 0 && b_.left == 0;
    return length;
  }

 private:
  struct Walker {
    RunsView mask;
    size_t next = 1;
    uint32_t left;  // of the current run
    bool inside = false;

    explicit Walker(const RunsView& mask) : mask(mask), left(mask.count > 0 ? mask.runs[0] : 0) {}
    void advance(uint32_t length) {
      left -= length;
      if (left > 0 || next >= mask.count) return;
      left = mask.runs[next++];
      inside = !inside;
    }
  };

  Walker a_, b_;
  bool at_end_ = false;
};

// A mask of which overlaps are computed: its runs, and where those inside begin and end among all pixels.
class Spans {
 public:
  // The runs are kept by someone else, the ends in `ends`, as many as there are runs.
  Spans(const RunsView& mask, uint32_t area, bool has_empty_run, uint32_t* ends)
      : mask_(mask), ends_(ends), area_(area), has_empty_run_(has_empty_run) {
    uint32_t end = 0;
    for (size_t i = 0; i < mask.count; ++i) ends[i] = end += mask.runs[i];
  }

  const RunsView& mask() const { return mask_; }
  uint32_t area() const { return area_; }
  bool has_empty_run() const { return has_empty_run_; }
  size_t count() const { return mask_.count / 2; }
  uint32_t begin(size_t i) const { return ends_[2 * i]; }
  uint32_t end(size_t i) const { return ends_[2 * i + 1]; }

  // The first span that ends after a pixel.
  size_t first_after(uint32_t pixel) const {
    size_t low = 0, high = count();
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (end(middle) <= pixel) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

 private:
  RunsView mask_;
  const uint32_t* ends_;
  uint32_t area_;
  bool has_empty_run_;
};

struct Overlap {
  uint32_t common, joint;  // pixels
};

inline Overlap walk(const RunsView& mask, const RunsView& other) {
  Overlap overlap{0, 0};
  for (CommonRuns walk(mask, other); !walk.at_end();) {
    bool inside = walk.inside_a(), inside_other = walk.inside_b();
    uint32_t length = walk.advance();
    if (inside || inside_other) overlap.joint += length;
    if (inside && inside_other) overlap.common += length;
  }
  return overlap;
}

// The pixels that lie in both; neither mask may have an empty run.
inline uint32_t common_pixels(const Spans& mask, const Spans& other) {
  if (mask.count() == 0 || other.count() == 0) return 0;
  uint32_t common = 0;
  size_t i = mask.first_after(other.begin(0)), j = other.first_after(mask.begin(0));
  const size_t count = mask.count(), other_count = other.count();
  while (i < count && j < other_count) {
    uint32_t end = mask.end(i), other_end = other.end(j);
    uint32_t from = std::max(mask.begin(i), other.begin(j)), to = std::min(end, other_end);
    common += to > from ? to - from : 0;
    i += end <= other_end;  // without a branch, which could not be foreseen
    j += other_end <= end;
  }
  return common;
}

// The overlap of two masks of one size; with a crowd, the share of the first that lies in the second.
inline double mask_overlap(const Spans& mask, const Spans& other, bool crowd) {
  Overlap overlap;
  if (mask.has_empty_run() || other.has_empty_run()) {
    overlap = walk(mask.mask(), other.mask());
  } else {
    overlap.common = common_pixels(mask, other);
    overlap.joint = mask.area() + other.area() - overlap.common;
  }
  if (overlap.common == 0) return 0;
  return double(overlap.common) / double(crowd ? mask.area() : overlap.joint);
}

// The overlaps (N, M) of N masks with M objects, of which `iscrowd` tells which are crowds (none where it is null).
// Masks whose boxes don't overlap are not looked at; an overlap of masks of different sizes is -1.
inline void mask_iou(
    const std::vector<RunsView>& masks, const std::vector<RunsView>& objects, const uint8_t* iscrowd, double* result) {
  std::vector<PixelBox> object_boxes;
  std::vector<Spans> object_spans;
  size_t total = 0, longest = 0;
  for (const RunsView& object : objects) total += object.count;
  for (const RunsView& mask : masks) longest = std::max(longest, mask.count);
  std::vector<uint32_t> ends(total), own_ends(longest);
  for (uint32_t* next = ends.data(); const RunsView& object : objects) {
    Measures measures = measure(object);
    object_boxes.push_back(measures.box);
    object_spans.emplace_back(object, measures.area, measures.has_empty_run, next);
    next += object.count;
  }
  for (const RunsView& mask : masks) {
    Measures measures = measure(mask);
    Spans spans(mask, measures.area, measures.has_empty_run, own_ends.data());
    for (size_t i = 0; i < objects.size(); ++i) {
      bool crowd = iscrowd != nullptr && iscrowd[i];
      double overlap = box_overlap(measures.box, object_boxes[i], crowd);
      if (overlap > 0) overlap = mask.same_size(objects[i]) ? mask_overlap(spans, object_spans[i], crowd) : -1;
      *result++ = overlap;
    }
  }
}

// The pixels inside either of two masks of one size.
inline std::vector<uint32_t> unite(const RunsView& a, const RunsView& b) {
  std::vector<uint32_t> runs;
  uint32_t length = 0;
  bool inside = false;
  for (CommonRuns walk(a, b); !walk.at_end();) {
    length += walk.advance();
    bool inside_next = walk.inside_a() || walk.inside_b();
    if (inside_next != inside || walk.at_end()) runs.push_back(std::exchange(length, 0));
    inside = inside_next;
  }
  return runs;
}

}  // namespace detkit
