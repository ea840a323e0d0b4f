// The pairs of numbers that two maps have in common pixels, such as the segments of a panoptic map and of an answer.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "uniform_labels.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t block_size = 16;  // pixels
constexpr int64_t pixels_per_task = 1 << 18;

// The number of pixels of each pair: a table in which a pair lies at its hash or, where that is taken, behind it.
class PairCounts {
 public:
  struct Entry {
    uint64_t pair;
    int64_t pixels;  // 0: there is no pair
  };

  void add(uint64_t pair, int64_t pixels) {
    Entry& entry = find(pair);
    entry.pixels += pixels;
    if (entry.pixels != pixels) return;
    entry.pair = pair;
    if (2 * ++found_ > entries_.size()) grow();
  }

  // Those that there are, in order.
  std::vector<Entry> sorted() const {
    std::vector<Entry> found;
    for (const Entry& entry : entries_) {
      if (entry.pixels != 0) found.push_back(entry);
    }
    std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.pair < b.pair; });
    return found;
  }

 private:
  // That of the pair, or the empty one that it would take.
  Entry& find(uint64_t pair) {
    size_t place = (pair * 0x9e3779b97f4a7c15u) >> shift_;  // the golden ratio spreads neighboring numbers
    while (entries_[place].pixels != 0 && entries_[place].pair != pair) place = (place + 1) & (entries_.size() - 1);
    return entries_[place];
  }

  void grow() {
    std::vector<Entry> before(2 * entries_.size());
    before.swap(entries_);
    --shift_;
    for (const Entry& entry : before) {
      if (entry.pixels != 0) find(entry.pair) = entry;
    }
  }

  std::vector<Entry> entries_ = std::vector<Entry>(1 << 10);
  int shift_ = 64 - 10;
  size_t found_ = 0;
};

// In the order of its bits, a pair is ordered by its first number, then by its second, as signed numbers are.
uint64_t pair_of(int32_t first, int32_t second) {
  constexpr uint32_t sign = 1u << 31;
  return uint64_t(uint32_t(first) ^ sign) << 32 | (uint32_t(second) ^ sign);
}
int32_t first_of(uint64_t pair) { return static_cast<int32_t>(uint32_t(pair >> 32) ^ (1u << 31)); }
int32_t second_of(uint64_t pair) { return static_cast<int32_t>(uint32_t(pair) ^ (1u << 31)); }

// Adds the pairs of up to a block of pixels, run by run.
DETKIT_INLINE void count_runs(const int32_t* first, const int32_t* second, int64_t count, PairCounts& counts) {
  uint64_t pairs[block_size];
  for (int64_t i = 0; i < count; ++i) pairs[i] = pair_of(first[i], second[i]);
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && pairs[end] == pairs[begin]) ++end;
    counts.add(pairs[begin], end - begin);
  }
}

DETKIT_EVERY_MACHINE void count_pairs(const int32_t* first, const int32_t* second, int64_t count, PairCounts& counts) {
  uint64_t pair = 0;  // of the uniform blocks before, whose pixels are not added yet
  int64_t pixels = 0, pixel = 0;
  for (; pixel + block_size <= count; pixel += block_size) {
    if (!are_uniform<block_size>(first + pixel, second + pixel)) {
      count_runs(first + pixel, second + pixel, block_size, counts);
      continue;
    }
    const uint64_t own = pair_of(first[pixel], second[pixel]);
    if (own != pair && pixels > 0) {
      counts.add(pair, pixels);
      pixels = 0;
    }
    pair = own;
    pixels += block_size;
  }
  if (pixels > 0) counts.add(pair, pixels);
  count_runs(first + pixel, second + pixel, count - pixel, counts);
}

// first, second (...) int32 of one shape; returns (P, 2) int32, the distinct pairs in order, and (P,) int64, the number
// of pixels of each.
std::tuple<Tensor, Tensor> label_pairs(Tensor first, Tensor second) {
  STD_TORCH_CHECK(
      first.scalar_type() == ScalarType::Int && second.scalar_type() == ScalarType::Int, "maps must be int32");
  STD_TORCH_CHECK(first.numel() == second.numel(), "maps must be of one shape");
  first = as_contiguous(first);
  second = as_contiguous(second);
  const int32_t *first_data = first.const_data_ptr<int32_t>(), *second_data = second.const_data_ptr<int32_t>();
  PairCounts all;
  std::mutex adding;
  torch::stable::parallel_for(0, first.numel(), pixels_per_task, [&](int64_t begin, int64_t end) {
    PairCounts counts;
    count_pairs(first_data + begin, second_data + begin, end - begin, counts);
    std::lock_guard<std::mutex> guard(adding);
    for (const PairCounts::Entry& entry : counts.sorted()) all.add(entry.pair, entry.pixels);
  });
  std::vector<PairCounts::Entry> sorted = all.sorted();
  int64_t found = sorted.size();
  Tensor pairs = torch::stable::new_empty(first, {found, 2}, ScalarType::Int);
  Tensor pixels = torch::stable::new_empty(first, {found}, ScalarType::Long);
  int32_t* pair_data = pairs.mutable_data_ptr<int32_t>();
  int64_t* pixel_data = pixels.mutable_data_ptr<int64_t>();
  for (const PairCounts::Entry& entry : sorted) {
    *pair_data++ = first_of(entry.pair);
    *pair_data++ = second_of(entry.pair);
    *pixel_data++ = entry.pixels;
  }
  return {pairs, pixels};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) { m.impl("label_pairs", TORCH_BOX(&label_pairs)); }

}  // namespace detkit
