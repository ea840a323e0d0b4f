// The confusion of two label maps on the CPU. Neighboring pixels are mostly of one class, so that blocks in which both
// maps are uniform are counted at once. Others are counted in several histograms by turns: two additions to one number
// would wait for each other. (256 labels of uint8 are all below 256 classes, for which the greatest label is no limit.)
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
constexpr int64_t part_size = 8;
constexpr int64_t pixels_per_task = 1 << 18;
constexpr int64_t histogram_cells = 1 << 14;  // of which several fit into the cache

// The cells of a part of a block.
template <typename Label, typename Cell>
DETKIT_INLINE void find_cells(const Label* truth, const Label* answer, const ConfusionTable& table, Cell* cells) {
  using Unsigned = std::make_unsigned_t<Label>;
  constexpr uint64_t most = static_cast<Unsigned>(-1);
  const auto rows = static_cast<Unsigned>(std::min<uint64_t>(table.rows, most));
  const auto columns = static_cast<Unsigned>(std::min<uint64_t>(table.columns, most));
  const auto stride = static_cast<Cell>(table.stride());
  for (int64_t i = 0; i < part_size; ++i) {
    auto row = static_cast<Unsigned>(truth[i]), column = static_cast<Unsigned>(answer[i]);
    row = row < rows ? row : rows;
    column = column < columns ? column : columns;
    cells[i] = static_cast<Cell>(static_cast<Cell>(row) * stride + static_cast<Cell>(column));
  }
}

// Adds the pixels to so many histograms, each `table.size()` long. Cells are numbers of type Cell.
template <typename Label, typename Cell, int histogram_count>
DETKIT_EVERY_MACHINE void count_pixels(
    const Label* truth, const Label* answer, int64_t count, const ConfusionTable& table, int64_t* histograms) {
  int64_t* own[histogram_count];
  for (int i = 0; i < histogram_count; ++i) own[i] = histograms + i * table.size();
  int64_t pixel = 0;
  for (; pixel + block_size <= count; pixel += block_size) {
    if (are_uniform<block_size>(truth + pixel, answer + pixel)) {
      own[0][table.cell(truth[pixel], answer[pixel])] += block_size;
      continue;
    }
    for (int64_t part = pixel; part < pixel + block_size; part += part_size) {
      if (are_uniform<part_size>(truth + part, answer + part)) {
        own[0][table.cell(truth[part], answer[part])] += part_size;
        continue;
      }
      Cell cells[part_size];
      find_cells(truth + part, answer + part, table, cells);
      for (int64_t i = 0; i < part_size; ++i) ++own[i % histogram_count][cells[i]];
    }
  }
  for (; pixel < count; ++pixel) ++own[0][table.cell(truth[pixel], answer[pixel])];
}

template <typename Label>
void count_confusion(const Tensor& truth, const Tensor& answer, const ConfusionTable& table, int64_t* result) {
  const Label *truth_data = truth.const_data_ptr<Label>(), *answer_data = answer.const_data_ptr<Label>();
  const int count = table.size() <= histogram_cells ? 4 : 1;
  auto run = count == 4 ? count_pixels<Label, uint16_t, 4> : count_pixels<Label, uint64_t, 1>;
  std::mutex adding;
  // A task is worth the reading of its histograms.
  int64_t per_task = std::max<int64_t>(pixels_per_task, 8 * table.size());
  torch::stable::parallel_for(0, truth.numel(), per_task, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> histograms(count * table.size());
    run(truth_data + begin, answer_data + begin, end - begin, table, histograms.data());
    std::lock_guard<std::mutex> guard(adding);
    for (int histogram = 0; histogram < count; ++histogram) {
      const int64_t* from = histograms.data() + histogram * table.size();
      for (int64_t cell = 0; cell < table.rows * table.stride(); ++cell) result[cell] += from[cell];
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
