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
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "window.h"

namespace detkit {

struct RunLengths {
  uint32_t height, width;
  std::vector<uint32_t> runs;
};

// The runs of a mask that someone else keeps.
struct RunsView {
  uint32_t height, width;
  const uint32_t* runs;
  size_t count;

  RunsView(uint32_t height, uint32_t width, const uint32_t* runs, size_t count)
      : height(height), width(width), runs(runs), count(count) {}
  RunsView(const RunLengths& mask)  // wanted implicitly
      : RunsView(mask.height, mask.width, mask.runs.data(), mask.runs.size()) {}

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

inline RunLengths encode(const uint8_t* mask, uint32_t height, uint32_t width) {
  RunLengths result{height, width, {}};
  MaskEncoder().encode(mask, height, width, result.runs);
  return result;
}

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

// The smallest box around the pixels inside; for a run from one column into the next it has the whole height. As in
// pycocotools an empty mask has a box of zeros where it is one run, and one of size 2^32 - size + 1 where it is more.
inline PixelBox bounding_box(const RunsView& mask) {
  if (mask.count < 2 || mask.pixels() == 0) return {0, 0, 0, 0};
  uint32_t left = mask.width, top = mask.height, right = 0, bottom = 0, end = 0;
  for (size_t i = 1; i < mask.count; i += 2) {
    uint32_t begin = end + mask.runs[i - 1];
    end = begin + mask.runs[i];
    if (begin == end) continue;
    uint32_t first_column = begin / mask.height, last_column = (end - 1) / mask.height;
    bool one_column = first_column == last_column;
    left = std::min(left, first_column);
    right = std::max(right, last_column);
    top = std::min(top, one_column ? begin % mask.height : 0);
    bottom = std::max(bottom, one_column ? (end - 1) % mask.height : mask.height - 1);
  }
  return {double(left), double(top), double(right - left + 1), double(bottom - top + 1)};
}

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

// The overlap of two masks of one size; with a crowd, the share of the first that lies in the second.
inline double mask_overlap(const RunsView& mask, const RunsView& other, bool crowd) {
  uint32_t common = 0, joint = 0;
  for (CommonRuns walk(mask, other); !walk.at_end();) {
    bool inside = walk.inside_a(), inside_other = walk.inside_b();
    uint32_t length = walk.advance();
    if (inside || inside_other) joint += length;
    if (inside && inside_other) common += length;
  }
  if (common == 0) return 0;
  return double(common) / double(crowd ? area(mask) : joint);
}

// The overlaps (N, M) of N masks with M objects, of which `iscrowd` tells which are crowds (none where it is null).
// Masks whose boxes don't overlap are not looked at; an overlap of masks of different sizes is -1.
inline void mask_iou(
    const std::vector<RunsView>& masks, const std::vector<RunsView>& objects, const uint8_t* iscrowd, double* result) {
  std::vector<PixelBox> object_boxes;
  for (const RunsView& object : objects) object_boxes.push_back(bounding_box(object));
  for (const RunsView& mask : masks) {
    PixelBox box = bounding_box(mask);
    for (size_t i = 0; i < objects.size(); ++i) {
      bool crowd = iscrowd != nullptr && iscrowd[i];
      double overlap = box_overlap(box, object_boxes[i], crowd);
      if (overlap > 0) overlap = mask.same_size(objects[i]) ? mask_overlap(mask, objects[i], crowd) : -1;
      *result++ = overlap;
    }
  }
}

inline RunLengths unite(const RunsView& a, const RunsView& b) {
  RunLengths result{a.height, a.width, {}};
  uint32_t length = 0;
  bool inside = false;
  for (CommonRuns walk(a, b); !walk.at_end();) {
    length += walk.advance();
    bool inside_next = walk.inside_a() || walk.inside_b();
    if (inside_next != inside || walk.at_end()) result.runs.push_back(std::exchange(length, 0));
    inside = inside_next;
  }
  return result;
}

// The pixels inside any of the masks, one or more of one size.
inline RunLengths unite(const std::vector<RunLengths>& masks) {
  RunLengths result = masks.at(0);
  for (size_t i = 1; i < masks.size(); ++i) {
    if (!RunsView(masks[i]).same_size(result)) throw std::invalid_argument("masks of different sizes have no union");
    result = unite(result, masks[i]);
  }
  return result;
}

// COCO's compressed string: each run, from the fourth on as its difference from the run two before, in digits of five
// bits with the lowest first, of which all but the last have bit 32 set, shifted to begin at '0'.
inline void compress(const RunsView& mask, std::string& out) {
  for (size_t i = 0; i < mask.count; ++i) {
    int64_t value = mask.runs[i];
    if (i > 2) value -= mask.runs[i - 2];
    bool more = true;
    while (more) {
      int64_t digit = value & 31;
      value >>= 5;
      more = value != (digit & 16 ? -1 : 0);  // the highest bit of the last digit is the sign
      out.push_back(static_cast<char>('0' + (more ? digit | 32 : digit)));
    }
  }
}

// The next number of a compressed string, from `at` on.
inline int64_t read_number(std::string_view text, size_t& at) {
  constexpr int most_digits = 7;
  int64_t value = 0;
  for (int i = 0; i < most_digits; ++i) {
    if (at == text.size()) throw std::invalid_argument("it ends within a number");
    int code = static_cast<unsigned char>(text[at]) - '0';
    if (code < 0 || code > 63) {
      throw std::invalid_argument("its character " + std::to_string(at) + " is none of '0' to 'o'");
    }
    ++at;
    value |= int64_t(code & 31) << (5 * i);
    if (code & 32) continue;
    return code & 16 ? value - (int64_t(1) << (5 * (i + 1))) : value;
  }
  throw std::invalid_argument("its number that ends at character " + std::to_string(at) + " has too many digits");
}

// The runs of a compressed string, added at the end of `runs`. Throws what is wrong with a string that is no mask.
inline void decompress(std::string_view text, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
  uint64_t pixels = uint64_t(height) * width, sum = 0;
  size_t before = runs.size();
  for (size_t at = 0; at < text.size();) {
    int64_t run = read_number(text, at);
    if (runs.size() - before > 2) run += runs[runs.size() - 2];
    if (run < 0) throw std::invalid_argument("its run " + std::to_string(runs.size() - before) + " is negative");
    sum += run;
    if (sum > pixels) break;
    runs.push_back(static_cast<uint32_t>(run));
  }
  if (sum != pixels) {
    throw std::invalid_argument(
        "its runs sum to " + std::to_string(sum) + (sum > pixels ? " or more" : "") + ", but " +
        std::to_string(height) + " x " + std::to_string(width) + " pixels are " + std::to_string(pixels));
  }
}

inline RunLengths decompress(std::string_view text, uint32_t height, uint32_t width) {
  RunLengths result{height, width, {}};
  result.runs.reserve(text.size());  // a run takes a character at least
  decompress(text, height, width, result.runs);
  return result;
}

// Fills polygons as COCO does: corners go to a grid of fifths of a pixel, the edges are drawn on it as steps from one
// grid point to the next, and where a step crosses the middle of a column of pixels the mask changes from there down.
class PolygonFiller {
 public:
  PolygonFiller(uint32_t height, uint32_t width) : height_(height), width_(width) {}

  // `corners` holds x and y of each corner; the last is joined to the first.
  RunLengths fill(const double* corners, size_t count) {
    positions_.clear();
    for (size_t i = 0; i < count; ++i) {
      const double *from = corners + 2 * i, *to = corners + 2 * ((i + 1) % count);
      add_edge({on_grid(from[0]), on_grid(from[1])}, {on_grid(to[0]), on_grid(to[1])});
    }
    return {height_, width_, runs_between_positions()};
  }

 private:
  static constexpr int64_t grid = 5;  // points per pixel

  struct Point {
    int64_t x, y;
  };

  static int64_t on_grid(double coordinate) {
    double scaled = grid * coordinate + .5;
    if (!(std::abs(scaled) < 0x1p30)) {
      throw std::invalid_argument("a polygon has the coordinate " + std::to_string(coordinate));
    }
    return static_cast<int64_t>(scaled);
  }

  void add_edge(Point from, Point to) {
    int64_t across = std::abs(to.x - from.x), down = std::abs(to.y - from.y);
    if (across >= down) {
      if (from.x > to.x) std::swap(from, to);
      if (across > 0) add_flat_edge(from, to);
    } else {
      if (from.y > to.y) std::swap(from, to);
      add_steep_edge(from, to);
    }
  }

  // An edge that goes right by one grid point each step.
  void add_flat_edge(Point from, Point to) {
    double slope = double(to.y - from.y) / double(to.x - from.x);
    auto y_after = [&](int64_t step) { return int64_t(double(from.y) + slope * double(step) + .5); };
    for_each_column(from.x, to.x, [&](int64_t column, int64_t x) {
      add_crossing(column, std::min(y_after(x - from.x), y_after(x + 1 - from.x)));
    });
  }

  // An edge that goes down by one grid point each step, and aside by less.
  void add_steep_edge(Point from, Point to) {
    if (from.x == to.x) return;
    double slope = double(to.x - from.x) / double(to.y - from.y);
    auto x_after = [&](int64_t step) { return int64_t(double(from.x) + slope * double(step) + .5); };
    bool goes_right = slope > 0;
    int64_t most = to.y - from.y - 1;
    for_each_column(std::min(from.x, to.x), std::max(from.x, to.x), [&](int64_t column, int64_t x) {
      // Of the step that leaves x for x + 1, or x + 1 for x: first about where it is, then exactly.
      auto is_past = [&](int64_t step) { return goes_right ? x_after(step) > x : x_after(step) <= x; };
      int64_t step = std::clamp<int64_t>(int64_t((double(x) + .5 - double(from.x)) / slope), 0, most);
      while (step > 0 && is_past(step)) --step;
      while (step < most && !is_past(step + 1)) ++step;
      add_crossing(column, from.y + step);
    });
  }

  // Calls `visit(column, x)` for each column of the image whose middle lies between the grid's x and x + 1, where both
  // are on the edge.
  template <typename Visit>
  void for_each_column(int64_t left, int64_t right, const Visit& visit) {
    constexpr int64_t middle = grid / 2;
    int64_t column = left <= middle ? 0 : (left - middle + grid - 1) / grid;
    for (; column < width_ && column * grid + middle + 1 <= right; ++column) visit(column, column * grid + middle);
  }

  void add_crossing(int64_t column, int64_t y) {
    double row = std::ceil(std::clamp((double(y) + .5) / grid - .5, 0., double(height_)));
    positions_.push_back(static_cast<uint32_t>(column) * height_ + static_cast<uint32_t>(row));
  }

  // Two changes at one place undo each other.
  std::vector<uint32_t> runs_between_positions() {
    std::sort(positions_.begin(), positions_.end());
    std::vector<uint32_t> changes;
    for (uint32_t position : positions_) {
      if (!changes.empty() && changes.back() == position) {
        changes.pop_back();
      } else {
        changes.push_back(position);
      }
    }
    uint32_t pixels = height_ * width_, before = 0;
    if (!changes.empty() && changes.back() == pixels) changes.pop_back();
    std::vector<uint32_t> runs;
    for (uint32_t position : changes) runs.push_back(position - std::exchange(before, position));
    runs.push_back(pixels - before);
    return runs;
  }

  uint32_t height_, width_;
  std::vector<uint32_t> positions_;  // where the mask changes, column after column
};

inline RunLengths fill_polygon(const double* corners, size_t count, uint32_t height, uint32_t width) {
  return PolygonFiller(height, width).fill(corners, count);
}

inline RunLengths fill_box(const PixelBox& box, uint32_t height, uint32_t width) {
  double right = box.x + box.width, bottom = box.y + box.height;
  double corners[] = {box.x, box.y, box.x, bottom, right, bottom, right, box.y};
  return fill_polygon(corners, 4, height, width);
}

}  // namespace detkit
