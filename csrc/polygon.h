// Polygons filled to masks, to the pixel as pycocotools fills them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mask_overlap.h"

namespace detkit {

// Fills polygons as COCO does: corners go to a grid of fifths of a pixel, the edges are drawn on it as steps from one
// grid point to the next, and where a step crosses the middle of a column of pixels the mask changes from there down.
// Fills them one by one, and keeps its memory for the next.
class PolygonFiller {
 public:
  // `corners` holds x and y of each corner; the last is joined to the first. The runs are added at the end of `runs`.
  void fill(const double* corners, size_t count, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
    height_ = height;
    width_ = width;
    crossings_.clear();
    Point from{0, 0};
    for (size_t i = 0; i <= count && count > 0; ++i) {
      Point to = on_grid(corners + 2 * (i % count));
      if (i > 0) add_edge(from, to);
      from = to;
    }
    sort_crossings();
    add_runs(runs);
  }

 private:
  static constexpr int64_t grid = 5;  // points per pixel

  struct Point {
    int64_t x, y;
  };

  // Where an edge crosses a column of pixels: the row from which on the mask changes.
  struct Crossing {
    uint32_t column, row;
  };

  static Point on_grid(const double* corner) { return {on_grid(corner[0]), on_grid(corner[1])}; }

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

  // The first row whose middle is not above the step, ceil((y + 0.5) / grid - 0.5), within the image.
  void add_crossing(int64_t column, int64_t y) {
    int64_t row = y <= grid / 2 ? 0 : std::min<int64_t>((y + grid / 2) / grid, height_);
    crossings_.push_back({static_cast<uint32_t>(column), static_cast<uint32_t>(row)});
  }

  // By column and row. There are few in each column.
  void sort_crossings() {
    positions_.resize(crossings_.size());
    if (crossings_.empty()) return;
    auto by_column = [](const Crossing& a, const Crossing& b) { return a.column < b.column; };
    auto [first, last] = std::minmax_element(crossings_.begin(), crossings_.end(), by_column);
    uint32_t left = first->column;
    begins_.assign(last->column - left + 2, 0);
    for (const Crossing& one : crossings_) ++begins_[one.column - left + 1];
    std::partial_sum(begins_.begin(), begins_.end(), begins_.begin());
    for (const Crossing& one : crossings_) positions_[begins_[one.column - left]++] = one.column * height_ + one.row;
    for (size_t column = 0, begin = 0; column + 1 < begins_.size(); begin = begins_[column++]) {
      if (begins_[column] - begin == 2) {
        if (positions_[begin] > positions_[begin + 1]) std::swap(positions_[begin], positions_[begin + 1]);
      } else {
        std::sort(positions_.begin() + begin, positions_.begin() + begins_[column]);
      }
    }
  }

  // Two changes at one place undo each other.
  void add_runs(std::vector<uint32_t>& runs) {
    size_t changes = 0;
    for (uint32_t position : positions_) {
      if (changes > 0 && positions_[changes - 1] == position) {
        --changes;
      } else {
        positions_[changes++] = position;
      }
    }
    uint32_t pixels = height_ * width_, before = 0;
    if (changes > 0 && positions_[changes - 1] == pixels) --changes;
    for (size_t i = 0; i < changes; ++i) runs.push_back(positions_[i] - std::exchange(before, positions_[i]));
    runs.push_back(pixels - before);
  }

  uint32_t height_ = 0, width_ = 0;
  std::vector<Crossing> crossings_;
  std::vector<uint32_t> begins_;     // of each column's crossings among the sorted ones
  std::vector<uint32_t> positions_;  // where the mask changes, column after column
};

// Fills objects of several polygons, one by one.
class ObjectFiller {
 public:
  // The runs of the union of polygons, of which the first has the corners begins[0] .. begins[1] - 1 of all, and so on.
  const std::vector<uint32_t>& fill(
      const double* corners, const int64_t* begins, int64_t polygon_count, uint32_t height, uint32_t width) {
    if (polygon_count == 0) throw std::invalid_argument("it has no polygon");
    runs_.clear();
    for (int64_t i = 0; i < polygon_count; ++i) {
      std::vector<uint32_t>& own = i == 0 ? runs_ : next_;
      own.clear();
      filler_.fill(corners + 2 * begins[i], begins[i + 1] - begins[i], height, width, own);
      if (i > 0) {
        runs_ = unite({height, width, runs_.data(), runs_.size()}, {height, width, next_.data(), next_.size()});
      }
    }
    return runs_;
  }

 private:
  PolygonFiller filler_;
  std::vector<uint32_t> runs_, next_;
};

}  // namespace detkit
