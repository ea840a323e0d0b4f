// What is done with the boxes of a band, in three kernels. They are compared with each other, which gives each a row of
// bits: the earlier boxes that overlap it. Then their words are resolved one after the other, those of different groups
// side by side: a box pulls from the words before, and its row is on its way while they are resolved. Where a group
// goes on after the band, those of it that stay are compared with its boxes there.
#pragma once

#include "nms_gather.h"
#include "quick_intersection.h"

namespace detkit {
namespace {

constexpr int quarters = 4;  // threads that share the comparisons of a box with a word
constexpr int compare_threads = quarters * word_size;
constexpr int compare_columns = 16;  // blocks that share the comparisons of a word with those before it
constexpr int sharers = 8;           // threads that share the row of a box
constexpr int shared_words = band_words / sharers;
constexpr int resolve_threads = sharers * word_size;
constexpr int sweep_boxes = 512;  // boxes that stay to a block of the sweep

// overlaps() for where it is seldom so: a division is made only where a product finds that it may matter.
template <typename T>
__device__ bool overlaps_rarely(const Box<T>& a, T area_a, const Box<T>& b, T area_b, T threshold) {
  constexpr T slightly_less = sizeof(T) == 8 ? T(1 - 1e-15) : T(1 - 1e-6);
  T common = quick_intersection(a, b), joint = area_a + area_b - common;
  if (threshold >= T(0) && !(common > T(0) && common >= slightly_less * threshold * joint)) return false;
  return common / joint > threshold;
}

// A block compares the boxes of one word with those of some words before it and of the word itself.
template <typename T>
__global__ void __launch_bounds__(compare_threads, 4) compare_kernel(
    Ranked<T> ranked, Progress progress, int step, Bits* rows) {
  __shared__ Box<T> column_boxes[word_size];
  __shared__ T column_areas[word_size];
  __shared__ int64_t column_groups[word_size];
  __shared__ unsigned short found[quarters][word_size];
  constexpr int share = word_size / quarters;
  int size = progress.bands[step].size, row_word = blockIdx.y;
  if (row_word * word_size >= size) return;
  auto group_at = [&](int position) { return ranked.groups ? ranked.groups[position] : 0; };
  int own = threadIdx.x % word_size, quarter = threadIdx.x / word_size, row = row_word * word_size + own;
  bool is_row = row < size;
  int position = is_row ? progress.positions[row] : 0;
  Box<T> box = ranked.boxes[position];
  T own_area = area(box);
  int64_t group = group_at(position);
  int first_word = progress.words[row_word].begin / word_size;
  for (int column_word = first_word + blockIdx.x; column_word <= row_word; column_word += compare_columns) {
    int column = column_word * word_size + own;
    if (quarter == 0 && column < size) {
      int column_position = progress.positions[column];
      column_boxes[own] = ranked.boxes[column_position];
      column_areas[own] = area(column_boxes[own]);
      column_groups[own] = group_at(column_position);
    }
    __syncthreads();
    int end = column_word == row_word ? own : word_size;
    unsigned overlapping = 0;
    for (int k = 0; k < share; ++k) {
      int earlier = quarter * share + k;
      if (is_row && earlier < end && column_groups[earlier] == group &&
          overlaps_rarely(column_boxes[earlier], column_areas[earlier], box, own_area, ranked.threshold)) {
        overlapping |= 1u << k;
      }
    }
    found[quarter][own] = static_cast<unsigned short>(overlapping);
    __syncthreads();
    if (quarter == 0) {
      Bits bits = 0;
      for (int k = 0; k < quarters; ++k) bits |= Bits(found[k][own]) << (k * share);
      rows[row * band_words + column_word] = bits;
    }
  }
}

// The bits of a word from this one on.
__device__ __forceinline__ Bits bits_from(int bit) { return bit < word_size ? ~Bits(0) << bit : 0; }

// The bits of a word whose boxes are in the span.
__device__ __forceinline__ Bits bits_within(const Span& span, int word) {
  int first = word * word_size;
  return bits_from(larger(span.begin - first, 0)) & ~bits_from(larger(span.end - first, 0));
}

// Which boxes of a word are the first of their group in the band, to all threads of the block.
__device__ Bits begins_in(int word, int size, const int64_t* groups, const int* positions) {
  __shared__ unsigned halves[2];
  if (threadIdx.x < word_size) {
    int box = word * word_size + int(threadIdx.x);
    bool begins = box == 0 || (groups && box < size && groups[positions[box]] != groups[positions[box - 1]]);
    unsigned half = __ballot_sync(~0u, begins);
    if (threadIdx.x % warp_size == 0) halves[threadIdx.x / warp_size] = half;
  }
  __syncthreads();
  return Bits(halves[1]) << warp_size | halves[0];
}

// Greedy suppression within a word, by one warp: `rows` tells which earlier boxes of the word overlap each. Who stays
// is decided by those that stay before it, so each round decides at least one box more, and most words take two.
__device__ Bits resolve_word(const Bits* rows, Bits candidates) {
  int lane = threadIdx.x % warp_size;
  Bits low_row = rows[lane], high_row = rows[lane + warp_size], stays = candidates;
  for (;;) {
    unsigned low = __ballot_sync(~0u, (candidates >> lane & 1) && !(low_row & stays));
    unsigned high = __ballot_sync(~0u, (candidates >> (lane + warp_size) & 1) && !(high_row & stays));
    Bits next = Bits(high) << warp_size | low;
    if (next == stays) return stays;
    stays = next;
  }
}

// A block resolves the groups that begin in one word of the band, from this word to the end of the last of them.
__global__ void __launch_bounds__(resolve_threads) resolve_kernel(
    const int64_t* groups, Progress progress, int step, const Bits* rows) {
  __shared__ Bits stays[band_words];
  __shared__ Bits suppressed[2];        // by the words before; of this word and the next
  __shared__ Bits own_rows[word_size];  // the bits of a word's boxes that are of the word itself
  Band band = progress.bands[step];
  int first_word = blockIdx.x, first = first_word * word_size;
  if (first >= band.size) return;
  Bits begins = begins_in(first_word, band.size, groups, progress.positions);
  if (begins == 0) return;
  Span part{first + __ffsll(static_cast<long long>(begins)) - 1, progress.words[first_word].end};
  int last_begin = first + word_size - 1 - __clzll(static_cast<long long>(begins));
  bool is_last = part.end == band.size, crosses = is_last && band.group_end > band.end;
  int kept = last_begin == 0 ? band.before : 0, listed = 0;  // of the last group

  int own = threadIdx.x / sharers, sharer = threadIdx.x % sharers, next_rank = 0;
  Bits next[shared_words];
  auto fetch = [&](int word) {
    int box = word * word_size + own;
    bool is_own = box >= part.begin && box < part.end;
    const Bits* row = rows + int64_t(box) * band_words;
#pragma unroll
    for (int k = 0; k < shared_words; ++k) {
      int column = k * sharers + sharer;
      next[k] = is_own && column >= first_word && column <= word ? row[column] : 0;
    }
    if (is_own && sharer == 0) next_rank = progress.ranks[box];
  };
  fetch(first_word);
  if (threadIdx.x < band_words) stays[threadIdx.x] = 0;
  if (threadIdx.x < 2) suppressed[threadIdx.x] = 0;
  __syncthreads();
  for (int word = first_word; word * word_size < part.end; ++word) {
    int rank = next_rank;
    bool is_suppressed = false;
#pragma unroll
    for (int k = 0; k < shared_words; ++k) {
      int column = k * sharers + sharer;
      if (column == word) {
        own_rows[own] = next[k];
      } else {
        is_suppressed |= (next[k] & stays[column]) != 0;
      }
    }
    fetch(word + 1);
    // Eight bits of a warp's answers are of one box, and its four boxes follow each other.
    unsigned answers = __ballot_sync(~0u, is_suppressed);
    if (threadIdx.x % warp_size == 0 && answers != 0) {
      Bits going = 0;
      for (int k = 0; k < warp_size / sharers; ++k) going |= Bits((answers >> (k * sharers) & 0xff) != 0) << k;
      atomicOr(&suppressed[word % 2], going << own);
    }
    __syncthreads();
    if (threadIdx.x < warp_size) {
      Bits staying = resolve_word(own_rows, ~suppressed[word % 2] & bits_within(part, word));
      if (threadIdx.x == 0) {
        stays[word] = staying;
        suppressed[(word + 1) % 2] = 0;
      }
    }
    __syncthreads();
    Bits staying = stays[word], of_last = staying & bits_from(larger(last_begin - word * word_size, 0));
    if (sharer == 0 && (staying >> own & 1)) progress.kept[rank] = 1;
    if (crosses && sharer == 0 && (of_last >> own & 1)) {
      progress.list[listed + __popcll(of_last & ~bits_from(own))] = word * word_size + own;
    }
    listed += __popcll(of_last);
    kept += __popcll(of_last);
    if (kept >= progress.most) break;
  }
  if (is_last && threadIdx.x == 0) progress.crossings[step] = {kept, crosses ? listed : 0};
}

// A thread for each box after the band that is of the band's last group, compared with some of those that stay of it.
template <typename T>
__global__ void sweep_kernel(Ranked<T> ranked, Progress progress, int step) {
  __shared__ Box<T> kept_boxes[sweep_boxes];
  __shared__ T kept_areas[sweep_boxes];
  Band band = progress.bands[step];
  if (band.size == 0) return;
  Crossing crossing = progress.crossings[step];
  int begin = int(blockIdx.y) * sweep_boxes, size = smaller(crossing.listed - begin, sweep_boxes);
  int64_t position = band.end + first_item();
  if (size <= 0 || crossing.kept >= progress.most || position - threadIdx.x >= band.group_end) return;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    kept_boxes[i] = ranked.boxes[progress.positions[progress.list[begin + i]]];
    kept_areas[i] = area(kept_boxes[i]);
  }
  __syncthreads();
  Bits own_bit = Bits(1) << (position % word_size);
  if (position >= band.group_end || (progress.gone[position / word_size] & own_bit)) return;
  Box<T> box = ranked.boxes[position];
  T own_area = area(box);
  for (int k = 0; k < size; ++k) {
    if (overlaps_rarely(kept_boxes[k], kept_areas[k], box, own_area, ranked.threshold)) {
      atomicOr(&progress.gone[position / word_size], own_bit);
      return;
    }
  }
}

}  // namespace
}  // namespace detkit
