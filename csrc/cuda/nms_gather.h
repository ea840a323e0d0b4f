// The boxes of a suppression group by group, of each group best first, and the bands that they are taken in.
#pragma once

#include "../nms.h"
#include "launch.h"

namespace detkit {
namespace {

using Bits = unsigned long long;

constexpr int warp_size = 32;
constexpr int word_size = 64;   // boxes to a word of bits
constexpr int band_words = 64;  // words to a band
constexpr int band_boxes = band_words * word_size;
constexpr int block_threads = 512;  // of the kernels that add up what their threads find
constexpr int most_boxes = 1 << 30;

// The boxes by position: sorted by group and score.
template <typename T>
struct Ranked {
  const Box<T>* boxes;
  const int64_t* groups;  // absent where all boxes are of one group
  int count;
  T threshold;
};

// The boxes that a step takes: the next of those that are left.
struct Band {
  int size;       // no more than band_boxes, and no less but at the end
  int end;        // the position after the last of them
  int group_end;  // the position after the last box of the group that this one is of
  int before;     // boxes known to stay of the group that the first of them is of
};

// What is known after a step of the group that the last box of its band is of.
struct Crossing {
  int kept;    // its boxes that stay
  int listed;  // those of this band, if the group goes on after it
};

// From the first up to but not including the last.
struct Span {
  int begin, end;
};

struct Progress {
  Bits* gone;           // a bit for each position: not to stay
  uint8_t* kept;        // for each rank: 1 if it stays
  Band* bands;          // of each step
  Crossing* crossings;  // of each step
  int* positions;       // of the band's boxes
  int* ranks;           // of the band's boxes
  Span* words;          // of the band: where the group of a word's first box begins, and that of its last box ends
  int* list;            // the band's boxes that stay of the group that goes on after it
  int most;             // no more need be found of a group
};

// The groups in order of rank: labels, or images with labels.
__global__ void group_kernel(
    const int64_t* order, const int64_t* image_index, const int64_t* labels, int64_t images, int count,
    int64_t* groups) {
  for (int64_t rank = first_item(); rank < count; rank += item_stride()) {
    int64_t index = order[rank], label = labels ? labels[index] : 0;
    groups[rank] = image_index ? group_of(image_index[index], label, images) : label;
  }
}

// The sum of the values of the threads before this one, and that of all of a block of `block_threads`.
__device__ int sum_before(int value, int& total) {
  constexpr int warps = block_threads / warp_size;
  __shared__ int sums[warps];
  int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size, sum = value;
  for (int distance = 1; distance < warp_size; distance *= 2) {
    int other = __shfl_up_sync(~0u, sum, distance);
    if (lane >= distance) sum += other;
  }
  if (lane == warp_size - 1) sums[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
  for (int i = 0; i < warps; ++i) {
    if (i < warp) before += sums[i];
    total += sums[i];
  }
  __syncthreads();
  return before + sum - value;
}

// The first number from `low` on that `is_after` holds for, which it does for all that follow; `high` if there is none.
template <typename IsAfter>
__device__ int first_after(int low, int high, const IsAfter& is_after) {
  while (low < high) {
    int middle = low + (high - low) / 2;
    if (is_after(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Where the group of the box at `position` ends.
__device__ int end_of_group(const int64_t* groups, int position, int count) {
  if (!groups) return count;
  return first_after(position + 1, count, [&](int other) { return groups[other] > groups[position]; });
}

// Fills the band with the boxes from `begin` on that are not gone, by all threads of the block. Returns how many there
// are; `end` gets the position after the last of them.
__device__ int fill_band(int begin, int count, const Progress& progress, int& end) {
  constexpr int share = 32;  // boxes that a thread looks at in one go
  int found = 0;
  for (int64_t first = begin / share * share; first < count && found < band_boxes; first += block_threads * share) {
    int64_t own = first + threadIdx.x * share;
    Bits left = own < count ? ~(progress.gone[own / word_size] >> (own % word_size)) & 0xffffffffu : 0;
    if (own < begin) left &= ~Bits(0) << smaller<int64_t>(begin - own, share);
    if (count - own < share) left &= own < count ? (Bits(1) << (count - own)) - 1 : 0;
    int total, next = found + sum_before(__popcll(left), total);
    for (; left != 0 && next < band_boxes; left &= left - 1) {
      progress.positions[next] = int(own) + __ffsll(static_cast<long long>(left)) - 1;
      if (++next == band_boxes) end = progress.positions[band_boxes - 1] + 1;
    }
    found = smaller(found + total, band_boxes);
  }
  __syncthreads();
  return found;
}

// One block finds the boxes of a band.
__global__ void __launch_bounds__(block_threads) gather_kernel(
    const int64_t* groups, const int64_t* ranks, int count, Progress progress, int step) {
  __shared__ int end;
  __shared__ int64_t band_groups[band_boxes];
  Band last = step > 0 ? progress.bands[step - 1] : Band{};
  Crossing crossing = step > 0 ? progress.crossings[step - 1] : Crossing{};
  // Of a group of which enough is known, no more are looked for.
  int begin = step > 0 && last.size > 0 && crossing.kept >= progress.most ? last.group_end : last.end;
  if (threadIdx.x == 0) end = count;
  __syncthreads();
  int size = fill_band(begin, count, progress, end);
  if (groups) {
    for (int box = threadIdx.x; box < size; box += blockDim.x) band_groups[box] = groups[progress.positions[box]];
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    bool continues = size > 0 && step > 0 && (!groups || band_groups[0] == groups[last.end - 1]);
    int group_end = size == band_boxes ? end_of_group(groups, end - 1, count) : count;
    progress.bands[step] = {size, end, group_end, continues ? crossing.kept : 0};
  }
  for (int box = threadIdx.x; box < size; box += blockDim.x) {
    progress.ranks[box] = ranks ? int(ranks[progress.positions[box]]) : progress.positions[box];
  }
  int first = int(threadIdx.x) * word_size;
  if (first >= size) return;
  Span word{0, size};
  if (groups) {
    int64_t begins = band_groups[first], ends = band_groups[smaller(first + word_size, size) - 1];
    word.begin = first_after(0, first, [&](int box) { return band_groups[box] >= begins; });
    word.end = first_after(first, size, [&](int box) { return band_groups[box] > ends; });
  }
  progress.words[threadIdx.x] = word;
}

}  // namespace
}  // namespace detkit
