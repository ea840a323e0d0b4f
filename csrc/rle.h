// Masks as COCO stores them: the lengths of the runs of equal pixels, column after column, in turns outside and inside
// of the mask. The first run is outside, of length 0 where the first pixel is inside. All results equal pycocotools'
// to the bit, in the odd cases too.
//
//   counts, offsets  the runs of N masks: int32 (R,) one mask after another, and int64 (N+1,) where each mask begins
//   height, width    of every mask, in pixels; an image has less than 2^31
//
// masks_to_runs:     masks (N, height, width) bool or uint8, not zero is inside; to counts, offsets
// runs_to_masks:     the reverse, (N, height, width) bool
// runs_to_strings:   COCO's compressed strings: uint8 (C,) one after another, int64 (N+1,) where each begins
// strings_to_runs:   the reverse; a string that is no mask of this size is refused
// polygons_to_runs:  objects of one or more polygons, which are united
//   coordinates      (2P,) double, x y of each corner in pixels
//   polygon_offsets  (Q+1,) int64, where each polygon begins among the corners
//   object_offsets   (N+1,) int64, where each object begins among the polygons
//   sizes            (N, 2) int64, height and width of the image of each object
// run_areas:         int64 (N,), pixels inside
// run_boxes:         float (N, 4), x1 y1 x2 y2, 0 for an empty mask
// run_iou:           double (N, M), overlaps of N masks with M others of the same size
//   iscrowd          (M,) bool: the overlap with a crowd is the share of the mask that lies in it
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "window.h"

namespace detkit {

// The runs of a mask that someone else keeps.
struct RunsView {
  uint32_t height, width;
  const uint32_t* runs;
  size_t count;

  uint64_t pixels() const { return uint64_t(height) * width; }
  bool same_size(const RunsView& other) const { return height == other.height && width == other.width; }
};

// Encodes masks one by one, and keeps its memory for the next.
class MaskEncoder {
 public:
  // `mask` is (height, width) row by row, not zero is inside. The runs are added at the end of `runs`.
  void encode(const uint8_t* mask, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
    encode_window(mask, {0, 0, width, height}, height, width, runs);
  }

  // The same of an image of which the mask is only a window; all else is outside.
  void encode_window(
      const uint8_t* mask, const Window& window, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
    changes_.clear();
    begins_.assign(window.is_empty() ? 1 : window.width() + 1, 0);
    if (!window.is_empty()) find_changes(mask, window, height, width);
    sort_changes(window, height);
    uint32_t pixels = height * width, before = 0;
    for (uint32_t position : positions_) {
      if (position < pixels) runs.push_back(position - std::exchange(before, position));
    }
    runs.push_back(pixels - before);
  }

 private:
  // A pixel that differs from the one above, or, in the first row, from the last one of the column before. One below
  // the last row is that of the next column's first row. In pixels of the window.
  struct Change {
    uint32_t column, row;
  };

  void find_changes(const uint8_t* mask, const Window& window, uint32_t height, uint32_t width) {
    uint32_t columns = static_cast<uint32_t>(window.width()), rows = static_cast<uint32_t>(window.height());
    const uint8_t* last_row = mask + size_t(rows - 1) * columns;
    bool has_whole_columns = rows == height;
    border_.assign(columns, 0);
    if (has_whole_columns) std::copy_n(last_row, columns - 1, border_.data() + 1);
    const uint8_t* above = border_.data();
    for (uint32_t row = 0; row < rows; ++row) {
      const uint8_t* own = mask + size_t(row) * columns;
      compare_rows(above, own, row, columns);
      above = own;
    }
    if (!has_whole_columns) {
      border_.assign(columns, 0);
      compare_rows(last_row, border_.data(), rows, columns);
    } else if (window.right < width && last_row[columns - 1] != 0) {
      note(rows, columns - 1);
    }
  }

  // Most of a mask does not change from row to row, so that is found out for many pixels at once.
  void compare_rows(const uint8_t* above, const uint8_t* own, uint32_t row, uint32_t width) {
    constexpr uint32_t block = 64;
    uint32_t column = 0;
    for (; column + block <= width; column += block) {
      uint64_t a[block / 8], b[block / 8], differences = 0;
      std::memcpy(a, above + column, block);
      std::memcpy(b, own + column, block);
      for (uint32_t i = 0; i < block / 8; ++i) differences |= a[i] ^ b[i];
      if (differences == 0) continue;
      for (uint32_t i = 0; i < block / 8; ++i) note_changes(a[i], b[i], row, column + 8 * i);
    }
    for (; column < width; ++column) {
      if ((above[column] != 0) != (own[column] != 0)) note(row, column);
    }
  }

  // Eight pixels in a word, the first in its lowest byte.
  void note_changes(uint64_t above, uint64_t own, uint32_t row, uint32_t column) {
    static_assert(std::endian::native == std::endian::little);
    for (uint64_t changed = inside(above) ^ inside(own); changed != 0; changed &= changed - 1) {
      note(row, column + std::countr_zero(changed) / 8);
    }
  }

  // 1 in every byte that is not zero.
  static uint64_t inside(uint64_t pixels) {
    constexpr uint64_t ones = 0x0101010101010101, low_bits = 0x7f7f7f7f7f7f7f7f;
    return ((((pixels & low_bits) + low_bits) | pixels) >> 7) & ones;
  }

  void note(uint32_t row, uint32_t column) {
    changes_.push_back({column, row});
    ++begins_[column + 1];
  }

  // By column; within one they are in order already.
  void sort_changes(const Window& window, uint32_t height) {
    for (size_t column = 1; column < begins_.size(); ++column) begins_[column] += begins_[column - 1];
    positions_.resize(changes_.size());
    uint32_t first = static_cast<uint32_t>(window.left) * height + static_cast<uint32_t>(window.top);
    for (Change change : changes_) positions_[begins_[change.column]++] = first + change.column * height + change.row;
  }

  std::vector<Change> changes_;
  std::vector<uint32_t> begins_;     // of each column's changes among the sorted ones
  std::vector<uint32_t> positions_;  // of the changes, column after column
  std::vector<uint8_t> border_;      // what the first and last row are compared with
};

// Writes (height, width) bytes of 0 and 1, row by row, to memory that is zero. The runs must sum to height * width.
inline void decode(const RunsView& mask, uint8_t* out) {
  uint32_t height = mask.height, width = mask.width;
  if (mask.pixels() == 0) return;
  // First only what changes from a row to the next,
  uint32_t position = 0;
  for (size_t i = 0; i + 1 < mask.count; ++i) {
    uint32_t begin = position;
    position += mask.runs[i];
    if (i % 2 == 1) {
      uint32_t first = (begin + height - 1) / height, last = (position + height - 1) / height;
      for (uint32_t column = first; column < last; ++column) out[column] = 1;
    }
    uint32_t row = position % height;
    if (row > 0) out[size_t(row) * width + position / height] ^= 1;
  }
  if (mask.count % 2 == 0 && mask.count > 0) {
    for (uint32_t column = (position + height - 1) / height; column < width; ++column) out[column] = 1;
  }
  // then the rows themselves.
  for (uint32_t row = 1; row < height; ++row) {
    uint8_t* own = out + size_t(row) * width;
    const uint8_t* above = own - width;
    for (uint32_t column = 0; column < width; ++column) own[column] ^= above[column];
  }
}

// Pixels inside.
inline uint32_t area(const RunsView& mask) {
  uint32_t sum = 0;
  for (size_t i = 1; i < mask.count; i += 2) sum += mask.runs[i];
  return sum;
}

struct PixelBox {
  double x, y, width, height;
};

struct Measures {
  uint32_t area;  // pixels inside
  // The smallest box around them; for a run from one column into the next it has the whole height. As in pycocotools an
  // empty mask has a box of zeros where it is one run, and one of size 2^32 - size + 1 where it is more.
  PixelBox box;
  bool has_empty_run;  // after the first, where many masks have one
};

inline Measures measure(const RunsView& mask) {
  if (mask.count < 2 || mask.pixels() == 0) return {0, {0, 0, 0, 0}, mask.count >= 2};
  uint32_t left = mask.width, top = mask.height, right = 0, bottom = 0;
  uint32_t column = 0, row = 0, area = 0;
  bool has_empty_run = false;
  auto advance = [&](uint32_t pixels) {
    row += pixels;
    if (row < mask.height) return;
    row -= mask.height;
    ++column;
    if (row < mask.height) return;  // which spares most runs a division
    column += row / mask.height;
    row %= mask.height;
  };
  for (size_t i = 1; i < mask.count; i += 2) {
    uint32_t outside = mask.runs[i - 1], inside = mask.runs[i];
    has_empty_run |= (outside == 0 && i > 1) || inside == 0;
    advance(outside);
    if (inside == 0) continue;
    area += inside;
    uint32_t first_column = column, first_row = row;
    advance(inside - 1);
    bool one_column = first_column == column;
    left = std::min(left, first_column);
    right = std::max(right, column);
    top = std::min(top, one_column ? first_row : 0);
    bottom = std::max(bottom, one_column ? row : mask.height - 1);
    advance(1);
  }
  if (mask.count % 2 == 1) has_empty_run |= mask.runs[mask.count - 1] == 0;
  PixelBox box{double(left), double(top), double(right - left + 1), double(bottom - top + 1)};
  return {area, box, has_empty_run};
}

inline PixelBox bounding_box(const RunsView& mask) { return measure(mask).box; }

}  // namespace detkit
