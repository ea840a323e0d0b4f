// Boxes by place and size. Two boxes whose IoU is above a threshold t are alike: their areas differ by a factor of
// less than 1 / t, and their centers are less than (1 - t) / 2t of a side apart. So boxes are sorted by the octave of
// their size, each octave into a uniform grid of cells, by their center; and a box need only be compared with those
// in a few cells of a few octaves.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "../nms.h"

namespace detkit {

// Which cell each box lies in, and which cells are near it.
template <typename T>
class BoxGrid {
 public:
  // The boxes must have finite coordinates and positive sizes, and outlive the grid; the threshold must not be negative.
  BoxGrid(const std::vector<Box<T>>& boxes, T threshold)
      : boxes_(boxes), threshold_(threshold), octaves_(octave_count), cells_(boxes.size()) {
    T farthest = 0;
    for (const Box<T>& box : boxes) {
      octaves_[octave_of(area(box))].include(box);
      farthest = std::max({farthest, std::abs(box.x1), std::abs(box.y1), std::abs(box.x2), std::abs(box.y2)});
    }
    slack_ = 4 * farthest * std::numeric_limits<T>::epsilon();
    int32_t cell_count = 0;
    for (Octave& octave : octaves_) {
      if (octave.count > 0) cell_count = octave.lay_out(relative_reach(), cell_count);
    }
    torch::stable::parallel_for(0, boxes.size(), 4096, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) cells_[i] = octaves_[octave_of(area(boxes[i]))].cell_of(boxes[i]);
    });
    begins_.resize(cell_count + 1);
    for (int32_t cell : cells_) ++begins_[cell + 1];
    for (int32_t cell = 0; cell < cell_count; ++cell) begins_[cell + 1] += begins_[cell];
  }

  const std::vector<Box<T>>& boxes() const { return boxes_; }
  T threshold() const { return threshold_; }
  int32_t cell_count() const { return begins_.size() - 1; }
  int32_t cell_of(size_t i) const { return cells_[i]; }

  // How many boxes lie in the cells before this one.
  int32_t begin(int32_t cell) const { return begins_[cell]; }

  // How many boxes share a cell, as the average box sees it.
  double crowding() const {
    double pairs = 0;
    for (int32_t cell = 0; cell < cell_count(); ++cell) {
      double count = begins_[cell + 1] - begins_[cell];
      pairs += count * count;
    }
    return pairs / boxes_.size();
  }

  // Calls function(first, last) with cells that are side by side until all have been that a box which overlaps this
  // one may be in, or the function has returned true, which is then returned.
  template <typename Function>
  bool any_near(const Box<T>& box, const Function& function) const {
    // A box of its own size is the most likely.
    T own_area = area(box);
    int own = octave_of(own_area);
    if (any_in_octave(octaves_[own], box, function)) return true;
    int smallest = octave_of(own_area * threshold_ * (1 - epsilon));
    int largest = threshold_ > 0 ? octave_of(own_area / threshold_ * (1 + epsilon)) : octave_count - 1;
    for (int octave = smallest; octave <= largest; ++octave) {
      if (octave != own && octaves_[octave].count > 0 && any_in_octave(octaves_[octave], box, function)) return true;
    }
    return false;
  }

 private:
  // More than what rounding can add up to.
  static constexpr T epsilon = std::is_same_v<T, double> ? T(1e-12) : T(1e-5);
  // Areas from 2^-127 to 2^128, by factors of four.
  static constexpr int octave_count = 128;

  static int octave_of(T area) {
    if (!(area > 0)) return 0;
    float single = static_cast<float>(std::min(area, T(std::numeric_limits<float>::max())));
    return std::bit_cast<uint32_t>(single) >> 24;  // half of the exponent
  }

  struct Octave {
    int64_t count = 0;
    T left = INFINITY, top = INFINITY, right = -INFINITY, bottom = -INFINITY;  // of the centers
    T width_sum = 0, height_sum = 0, widest = 0, tallest = 0;
    T cells_per_x = 0, cells_per_y = 0;
    int32_t columns = 0, rows = 0, first_cell = 0;

    void include(const Box<T>& box) {
      T x = center_x(box), y = center_y(box), width = box.x2 - box.x1, height = box.y2 - box.y1;
      ++count;
      left = std::min(left, x);
      right = std::max(right, x);
      top = std::min(top, y);
      bottom = std::max(bottom, y);
      width_sum += width;
      height_sum += height;
      widest = std::max(widest, width);
      tallest = std::max(tallest, height);
    }

    // Cells as large as the neighborhood that is searched, or larger where boxes are few. Returns where the cells
    // of the next octave begin.
    int32_t lay_out(T relative_reach, int32_t first) {
      T reach_x = std::min(2 * relative_reach, T(2)) * width_sum / T(count);
      T reach_y = std::min(2 * relative_reach, T(2)) * height_sum / T(count);
      T spacing = std::sqrt((right - left) * (bottom - top) / T(count));
      columns = cells_along(right - left, std::max(reach_x, spacing));
      rows = cells_along(bottom - top, std::max(reach_y, spacing));
      cells_per_x = right > left ? T(columns) / (right - left) : 0;
      cells_per_y = bottom > top ? T(rows) / (bottom - top) : 0;
      first_cell = first;
      return first + columns * rows;
    }

    int32_t cells_along(T length, T cell) const {
      return length > 0 ? static_cast<int32_t>(std::clamp(length / cell, T(1), T(count))) : 1;
    }

    int32_t column_at(T x) const { return cell_at((x - left) * cells_per_x, columns); }
    int32_t row_at(T y) const { return cell_at((y - top) * cells_per_y, rows); }
    static int32_t cell_at(T position, int32_t cells) {
      return static_cast<int32_t>(std::clamp(position, T(0), T(cells - 1)));
    }
    int32_t cell_of(const Box<T>& box) const {
      return first_cell + row_at(center_y(box)) * columns + column_at(center_x(box));
    }
  };

  static T center_x(const Box<T>& box) { return box.x1 / 2 + box.x2 / 2; }
  static T center_y(const Box<T>& box) { return box.y1 / 2 + box.y2 / 2; }

  // How far the center of an overlapping box can be, in sides of this one.
  T relative_reach() const {
    return threshold_ > 0 ? std::max(T(0), (1 - threshold_) / (2 * threshold_)) + epsilon : T(INFINITY);
  }

  template <typename Function>
  bool any_in_octave(const Octave& octave, const Box<T>& box, const Function& function) const {
    T width = box.x2 - box.x1, height = box.y2 - box.y1, x = center_x(box), y = center_y(box);
    T reach_x = std::min(width * relative_reach(), (width + octave.widest) / 2) * (1 + epsilon) + slack_;
    T reach_y = std::min(height * relative_reach(), (height + octave.tallest) / 2) * (1 + epsilon) + slack_;
    int32_t left = octave.column_at(x - reach_x), right = octave.column_at(x + reach_x);
    int32_t top = octave.row_at(y - reach_y), bottom = octave.row_at(y + reach_y);
    for (int32_t row = top; row <= bottom; ++row) {
      int32_t row_begin = octave.first_cell + row * octave.columns;
      if (function(row_begin + left, row_begin + right)) return true;
    }
    return false;
  }

  const std::vector<Box<T>>& boxes_;
  T threshold_, slack_;
  std::vector<Octave> octaves_;
  std::vector<int32_t> cells_;   // of each box
  std::vector<int32_t> begins_;  // of each cell among the boxes, cell by cell
};

// The boxes that stay, cell by cell: the fastest way where many boxes crowd around each that stays.
template <typename T>
class KeptInGrid {
 public:
  explicit KeptInGrid(const BoxGrid<T>& grid) : grid_(grid), kept_(grid.boxes().size()) {
    for (int32_t cell = 0; cell < grid.cell_count(); ++cell) ends_.push_back(grid.begin(cell));
  }

  int64_t count() const { return count_; }

  void add(size_t i) {
    const Box<T>& box = grid_.boxes()[i];
    kept_[ends_[grid_.cell_of(i)]++] = {box, area(box)};
    ++count_;
  }

  // Sets stays[i] to whether box i overlaps none of those that were added, for i from `first` to `last`.
  void compare(int64_t first, int64_t last, uint8_t* stays) const {
    for (int64_t i = first; i < last; ++i) stays[i] = !overlaps_any(i, 0);
  }

  // Whether a box overlaps one of those added. To know how many it does not overlap is of no use here.
  bool overlaps_any(size_t i, int64_t) const {
    const Box<T>& box = grid_.boxes()[i];
    T own_area = area(box);
    return grid_.any_near(box, [&](int32_t first, int32_t last) {
      for (int32_t cell = first; cell <= last; ++cell) {
        for (int32_t k = grid_.begin(cell); k < ends_[cell]; ++k) {
          if (overlaps(kept_[k].box, kept_[k].area, box, own_area, grid_.threshold())) return true;
        }
      }
      return false;
    });
  }

 private:
  struct Kept {
    Box<T> box;
    T area;
  };

  const BoxGrid<T>& grid_;
  std::vector<Kept> kept_;     // with room in every cell for all of its boxes
  std::vector<int32_t> ends_;  // of the kept boxes of each cell
  int64_t count_ = 0;
};

}  // namespace detkit
