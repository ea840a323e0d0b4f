// The confusion of two label maps on the CPU. Neighboring pixels are mostly of one class, so that blocks in which both
// maps are uniform are counted at once. Others are counted in several histograms by turns: two additions to one number
// would wait for each other.
#include "../label_confusion.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <type_traits>
#include <vector>

#include "../contiguous.h"
#include "uniform_labels.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t block_size = 32;  // pixels
constexpr int64_t pixels_per_task = 1 << 18;
constexpr int64_t histogram_cells = 1 << 14;  // of which several fit into the cache
constexpr int64_t histogram_count = 8;
constexpr int64_t most_pixels = 1 << 30;  // that a histogram counts before it is emptied

// The cells of a block.
template <typename Label, typename Cell>
DETKIT_INLINE void find_cells(const Label* truth, const Label* answer, const ConfusionTable& table, Cell* cells) {
  using Unsigned = std::make_unsigned_t<Label>;
  constexpr uint64_t most = static_cast<Unsigned>(-1);  // which is a class itself where there are more
  const auto rows = static_cast<Unsigned>(std::min<uint64_t>(table.rows, most));
  const auto columns = static_cast<Unsigned>(std::min<uint64_t>(table.columns, most));
  const auto stride = static_cast<Cell>(table.stride());
  for (int64_t i = 0; i < block_size; ++i) {
    auto row = static_cast<Unsigned>(truth[i]), column = static_cast<Unsigned>(answer[i]);
    row = row < rows ? row : rows;
    column = column < columns ? column : columns;
    cells[i] = static_cast<Cell>(static_cast<Cell>(row) * stride + static_cast<Cell>(column));
  }
}

// Adds the pixels of a block to the histograms by turns. Four cells are read at once: so many reads would take longer
// than the shifts.
DETKIT_INLINE void count_cells(const uint16_t* cells, uint32_t* histograms, int64_t size) {
  for (int64_t i = 0; i < block_size; i += 4) {
    const auto four = load<uint64_t>(cells + i);
    uint32_t* next = histograms + i % histogram_count * size;
    ++next[four & 0xffff];
    ++next[size + (four >> 16 & 0xffff)];
    ++next[2 * size + (four >> 32 & 0xffff)];
    ++next[3 * size + (four >> 48)];
  }
}

// To a single one, of more cells.
DETKIT_INLINE void count_cells(const uint64_t* cells, uint32_t* histogram, int64_t) {
  for (int64_t i = 0; i < block_size; ++i) ++histogram[cells[i]];
}

// Adds the pixels to histograms that are `table.size()` long each: several with cells of 16 bits, else one.
template <typename Label, typename Cell>
DETKIT_EVERY_MACHINE void count_pixels(
    const Label* truth, const Label* answer, int64_t count, const ConfusionTable& table, uint32_t* histograms) {
  int64_t pixel = 0;
  for (; pixel + block_size <= count; pixel += block_size) {
    if (are_uniform<block_size>(truth + pixel, answer + pixel)) {
      histograms[table.cell(truth[pixel], answer[pixel])] += block_size;
      continue;
    }
    Cell cells[block_size];
    find_cells(truth + pixel, answer + pixel, table, cells);
    count_cells(cells, histograms, table.size());
  }
  for (; pixel < count; ++pixel) ++histograms[table.cell(truth[pixel], answer[pixel])];
}

template <typename Label>
void count_confusion(const Tensor& truth, const Tensor& answer, const ConfusionTable& table, int64_t* result) {
  const Label *truth_data = truth.const_data_ptr<Label>(), *answer_data = answer.const_data_ptr<Label>();
  const int64_t count = table.size() <= histogram_cells ? histogram_count : 1;
  auto run = count == 1 ? count_pixels<Label, uint64_t> : count_pixels<Label, uint16_t>;
  std::mutex adding;
  // A task is worth the reading of its histograms.
  int64_t per_task = std::max<int64_t>(pixels_per_task, 8 * table.size());
  torch::stable::parallel_for(0, truth.numel(), per_task, [&](int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; pixel += most_pixels) {
      std::vector<uint32_t> histograms(count * table.size());
      const int64_t pixels = std::min(most_pixels, end - pixel);
      run(truth_data + pixel, answer_data + pixel, pixels, table, histograms.data());
      std::lock_guard<std::mutex> guard(adding);
      for (int64_t histogram = 0; histogram < count; ++histogram) {
        const uint32_t* from = histograms.data() + histogram * table.size();
        for (int64_t cell = 0; cell < table.rows * table.stride(); ++cell) result[cell] += from[cell];
      }
    }
  });
}

Tensor label_confusion(Tensor truth, Tensor answer, int64_t rows, int64_t columns) {
  check_maps(truth, answer, rows, columns);
  truth = as_contiguous(truth);
  answer = as_contiguous(answer);
  ConfusionTable table{rows, columns};
  Tensor result = torch::stable::new_zeros(truth, {rows, columns + 1}, ScalarType::Long);
  with_label_type(truth.scalar_type(), [&]<typename Label>() {
    count_confusion<Label>(truth, answer, table, result.mutable_data_ptr<int64_t>());
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) { m.impl("label_confusion", TORCH_BOX(&label_confusion)); }

}  // namespace detkit
