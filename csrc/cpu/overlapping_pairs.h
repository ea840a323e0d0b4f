// All pairs of boxes that overlap, found side by side and place by place: the fastest way to know which boxes stay
// where few overlap, since what remains to be done one after the other is little.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "box_grid.h"
#include "sort.h"

namespace detkit {

template <typename T>
struct RankedBox {
  Box<T> box;
  T area;
  int32_t rank;
};

// The boxes, which are given best first, cell by cell. Each thread fills the cells of its part of the grid.
template <typename T>
std::vector<RankedBox<T>> boxes_by_cell(const BoxGrid<T>& grid) {
  const std::vector<Box<T>>& boxes = grid.boxes();
  std::vector<RankedBox<T>> result(boxes.size());
  int64_t parts = boxes.size() < 4096 ? 1 : torch::stable::get_num_threads();
  torch::stable::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    int32_t first_cell = grid.cell_count() * first / parts, last_cell = grid.cell_count() * last / parts;
    std::vector<int32_t> next(last_cell - first_cell);
    for (int32_t cell = first_cell; cell < last_cell; ++cell) next[cell - first_cell] = grid.begin(cell);
    for (size_t i = 0; i < boxes.size(); ++i) {
      int32_t cell = grid.cell_of(i);
      if (cell < first_cell || cell >= last_cell) continue;
      result[next[cell - first_cell]++] = {boxes[i], area(boxes[i]), static_cast<int32_t>(i)};
    }
  });
  return result;
}

// The pairs, each as the rank of the worse box and that of the better one, from the lowest rank of the worse.
template <typename T>
std::vector<Keyed<uint32_t>> overlapping_pairs(const BoxGrid<T>& grid) {
  std::vector<RankedBox<T>> boxes = boxes_by_cell(grid);
  int64_t count = boxes.size(), parts = std::max<int64_t>(1, count / 256);
  std::vector<std::vector<Keyed<uint32_t>>> found(parts);
  torch::stable::parallel_for(0, parts, 8, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) {
        const RankedBox<T>& own = boxes[i];
        grid.any_near(own.box, [&](int32_t first_cell, int32_t last_cell) {
          for (int32_t j = grid.begin(first_cell); j < grid.begin(last_cell + 1); ++j) {
            const RankedBox<T>& other = boxes[j];
            if (other.rank < own.rank && overlaps(other.box, other.area, own.box, own.area, grid.threshold())) {
              found[part].push_back({static_cast<uint32_t>(own.rank), other.rank});
            }
          }
          return false;
        });
      }
    }
  });
  std::vector<Keyed<uint32_t>> pairs;
  for (const auto& some : found) pairs.insert(pairs.end(), some.begin(), some.end());
  sort_by_key(pairs, std::bit_width(static_cast<uint32_t>(count)));
  return pairs;
}

}  // namespace detkit
