// The boxes that stay, found by place and size. Two boxes whose IoU is above a threshold t are alike: their areas
// differ by a factor of less than 1 / t, and their centres are less than (1 - t) / 2t of a side apart. So boxes are
// kept by the octave of their size, each octave in a uniform grid of cells, by their centre; and a box need only be
// compared with those in a few cells of a few octaves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "../nms.h"

namespace detkit {

template <typename T>
class BoxGrid {
 public:
  // The boxes must have finite coordinates and positive sizes, and outlive the grid; the threshold must not be negative.
  BoxGrid(const std::vector<Box<T>>& boxes, T threshold)
      : boxes_(boxes), threshold_(threshold), places_(boxes.size()), kept_(boxes.size()) {
    T farthest = 0;
    for (size_t i = 0; i < boxes.size(); ++i) {
      const Box<T>& box = boxes[i];
      places_[i].octave = octave_of(area(box));
      octaves_[places_[i].octave].include(box);
      farthest = std::max({farthest, std::abs(box.x1), std::abs(box.y1), std::abs(box.x2), std::abs(box.y2)});
    }
    slack_ = 4 * farthest * std::numeric_limits<T>::epsilon();
    int32_t cell_count = 0;
    for (Octave& octave : octaves_) {
      if (octave.count > 0) cell_count = octave.lay_out(relative_reach(), cell_count);
    }
    lay_out_cells(cell_count);
  }

  // Whether box i overlaps one that was added by more than the threshold.
  bool overlaps_any(size_t i) const {
    // One of its own size is the most likely.
    int own = places_[i].octave;
    if (overlaps_any_of(octaves_[own], boxes_[i])) return true;
    T own_area = area(boxes_[i]);
    int smallest = octave_of(own_area * threshold_ * (1 - epsilon));
    int largest = threshold_ > 0 ? octave_of(own_area / threshold_ * (1 + epsilon)) : octave_count - 1;
    for (int octave = smallest; octave <= largest; ++octave) {
      if (octave != own && octaves_[octave].count > 0 && overlaps_any_of(octaves_[octave], boxes_[i])) return true;
    }
    return false;
  }

  void add(size_t i) { kept_[cells_[places_[i].cell].end++] = {boxes_[i], area(boxes_[i])}; }

 private:
  // More than what rounding can add up to.
  static constexpr T epsilon = std::is_same_v<T, double> ? T(1e-12) : T(1e-5);
  // Areas from 2^-128 to 2^128, by factors of four.
  static constexpr int octave_count = 128;

  static int octave_of(T area) {
    if (!(area > 0)) return 0;
    int exponent;
    std::frexp(std::min(area, std::numeric_limits<T>::max()), &exponent);
    return std::clamp((exponent + 128) >> 1, 0, octave_count - 1);
  }

  struct Place {
    int32_t octave, cell;
  };

  struct Kept {
    Box<T> box;
    T area;
  };

  struct Cell {
    int32_t begin, end;  // of the kept boxes in it
  };

  struct Octave {
    int64_t count = 0;
    T left = INFINITY, top = INFINITY, right = -INFINITY, bottom = -INFINITY;  // of the centres
    T width_sum = 0, height_sum = 0, widest = 0, tallest = 0;
    T cells_per_x = 0, cells_per_y = 0;
    int32_t columns = 0, rows = 0, first_cell = 0;

    void include(const Box<T>& box) {
      T x = centre_x(box), y = centre_y(box), width = box.x2 - box.x1, height = box.y2 - box.y1;
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

    // Cells as large as the neighbourhood that is searched, or larger where boxes are few. Returns where the cells
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
      return first_cell + row_at(centre_y(box)) * columns + column_at(centre_x(box));
    }
  };

  // Room in every cell for all the boxes whose centre is in it.
  void lay_out_cells(int32_t cell_count) {
    std::vector<int32_t> counts(cell_count);
    for (size_t i = 0; i < boxes_.size(); ++i) {
      places_[i].cell = octaves_[places_[i].octave].cell_of(boxes_[i]);
      ++counts[places_[i].cell];
    }
    cells_.reserve(cell_count);
    int32_t begin = 0;
    for (int32_t count : counts) {
      cells_.push_back({begin, begin});
      begin += count;
    }
  }

  static T centre_x(const Box<T>& box) { return box.x1 / 2 + box.x2 / 2; }
  static T centre_y(const Box<T>& box) { return box.y1 / 2 + box.y2 / 2; }

  // How far the centre of an overlapping box can be, in sides of this one.
  T relative_reach() const {
    return threshold_ > 0 ? std::max(T(0), (1 - threshold_) / (2 * threshold_)) + epsilon : T(INFINITY);
  }

  bool overlaps_any_of(const Octave& octave, const Box<T>& box) const {
    T own_area = area(box);
    T width = box.x2 - box.x1, height = box.y2 - box.y1, x = centre_x(box), y = centre_y(box);
    T reach_x = std::min(width * relative_reach(), (width + octave.widest) / 2) * (1 + epsilon) + slack_;
    T reach_y = std::min(height * relative_reach(), (height + octave.tallest) / 2) * (1 + epsilon) + slack_;
    int32_t left = octave.column_at(x - reach_x), right = octave.column_at(x + reach_x);
    int32_t top = octave.row_at(y - reach_y), bottom = octave.row_at(y + reach_y);
    for (int32_t row = top; row <= bottom; ++row) {
      for (int32_t column = left; column <= right; ++column) {
        const Cell& cell = cells_[octave.first_cell + row * octave.columns + column];
        for (int32_t i = cell.begin; i < cell.end; ++i) {
          if (overlaps(kept_[i].box, kept_[i].area, box, own_area, threshold_)) return true;
        }
      }
    }
    return false;
  }

  const std::vector<Box<T>>& boxes_;
  T threshold_, slack_;
  Octave octaves_[octave_count];
  std::vector<Place> places_;  // of each box
  std::vector<Cell> cells_;    // octave by octave
  std::vector<Kept> kept_;     // cell by cell
};

}  // namespace detkit
