// What is done with a band of boxes, in three kernels. Its boxes are compared with each other, which gives each a row
// of bits: the earlier boxes that overlap it. The words of boxes are resolved one after the other, those of different
// groups side by side: a box pulls from the words before, whose rows are on their way to it while they are resolved.
// And where a group goes on after the band, those of it that stay are compared with its boxes there.
#pragma once

#include "nms_groups.h"

namespace detkit {
namespace {

constexpr int quarters = 4;  // threads that share the comparisons of a box with a word
constexpr int compare_threads = quarters * word_size;
constexpr int compare_columns = 16;  // blocks that share the comparisons of a word with those before it
constexpr int sharers = 8;           // threads that pull the bits of a box
constexpr int pulled = group_words / sharers;
constexpr int resolve_threads = sharers * word_size;
constexpr int warp_size = 32;
constexpr int sweep_boxes = 512;  // boxes that stay to a block of the sweep

// The group that goes on after a band.
struct Crossing {
  int kept;    // its boxes that stay, from its begin on
  int listed;  // those of this band
};

// What is known so far.
struct Progress {
  Words words;
  Bands bands;
  const int64_t* ranks;  // of each position; absent where it is the position itself
  Bits* gone;            // a bit for each position: not to stay
  Bits* kept;            // a bit for each rank: to stay
  int* list;             // the positions that stay of the group that goes on after the band
  Crossing* crossings;   // of each step
  int most;              // no more need be found of a group

  // The first word of the band that has boxes of the group that `word` begins with.
  __device__ int first_word(int word, const Span& band) const {
    return larger(words.begin(word) / word_size, band.begin);
  }
  // Whether the group that `word` begins with comes from the band before.
  __device__ bool begins_before(int word, const Span& band) const {
    return words.begin(word) < band.begin * word_size;
  }
};

// A block compares the boxes of one word with those of some words before it and of the word itself.
template <typename T>
__global__ void __launch_bounds__(compare_threads) compare_kernel(
    Ranked<T> ranked, Progress progress, int step, Bits* rows) {
  __shared__ Box<T> column_boxes[word_size];
  __shared__ T column_areas[word_size];
  __shared__ int64_t column_groups[word_size];
  __shared__ unsigned short found[quarters][word_size];
  Span band = progress.bands.at(step);
  int row_word = band.begin + int(blockIdx.y);
  if (row_word >= band.end) return;
  int own = threadIdx.x % word_size, quarter = threadIdx.x / word_size, row = row_word * word_size + own;
  int first_word = progress.first_word(row_word, band);
  // Of a group of which enough is known, nothing need be compared; others may begin in this word.
  bool is_full = progress.begins_before(row_word, band) && progress.crossings[step - 1].kept >= progress.most;
  int first_column = (is_full ? row_word : first_word) + int(blockIdx.x);

  bool is_row = row < ranked.count;
  Box<T> box = is_row ? ranked.boxes[row] : Box<T>{};
  T own_area = area(box);
  int64_t group = is_row ? ranked.group(row) : 0;
  int own_first = is_row && group == ranked.group(row_word * word_size) ? first_word : row_word;
  for (int column_word = first_column; column_word <= row_word; column_word += compare_columns) {
    int begin = column_word * word_size;
    if (quarter == 0 && begin + own < ranked.count) {
      column_boxes[own] = ranked.boxes[begin + own];
      column_areas[own] = area(column_boxes[own]);
      column_groups[own] = ranked.group(begin + own);
    }
    __syncthreads();
    constexpr int share = word_size / quarters;
    int end = column_word == row_word ? own : word_size;
    unsigned overlapping = 0;
    for (int k = 0; k < share && is_row; ++k) {
      int column = quarter * share + k;
      if (column < end && column_groups[column] == group &&
          overlaps_rarely(column_boxes[column], column_areas[column], box, own_area, ranked.threshold)) {
        overlapping |= 1u << k;
      }
    }
    found[quarter][own] = static_cast<unsigned short>(overlapping);
    __syncthreads();
    if (quarter == 0 && is_row && column_word >= own_first) {
      Bits bits = 0;
      for (int k = 0; k < quarters; ++k) bits |= Bits(found[k][own]) << (k * share);
      rows[(row - band.begin * word_size) * group_words + column_word - own_first] = bits;
    }
  }
}

// The bits of a word from this one on.
__device__ __forceinline__ Bits bits_from(int bit) { return bit < word_size ? ~Bits(0) << bit : 0; }

__device__ __forceinline__ int lowest_bit(Bits bits) { return __ffsll(static_cast<long long>(bits)) - 1; }
__device__ __forceinline__ int highest_bit(Bits bits) { return word_size - 1 - __clzll(static_cast<long long>(bits)); }

// The bits of a word whose positions are in the span.
__device__ __forceinline__ Bits bits_within(const Span& span, int word) {
  int first = word * word_size;
  return bits_from(larger(span.begin - first, 0)) & ~bits_from(larger(span.end - first, 0));
}

// Which of the positions of a word begin a group, or the band, to all threads of the block.
__device__ Bits begins_in(int word, const Span& band, const int64_t* groups, int count) {
  __shared__ unsigned halves[2];
  if (threadIdx.x < word_size) {
    int position = word * word_size + int(threadIdx.x);
    bool begins = position == band.begin * word_size ||
                  (groups && position < count && groups[position] != groups[position - 1]);
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
    const int64_t* groups, int count, Progress progress, int step, const Bits* rows) {
  __shared__ Bits stays[group_words];
  __shared__ Bits gone[group_words];    // by the bands before
  __shared__ Bits suppressed[2];        // by the words before; of this word and the next
  __shared__ Bits own_rows[word_size];  // the bits of a word's boxes that are of the word itself
  Span band = progress.bands.at(step);
  int first_word = band.begin + int(blockIdx.x), first = first_word * word_size;
  if (first_word >= band.end) return;
  Bits begins = begins_in(first_word, band, groups, count);
  if (begins == 0) return;
  int group_end = progress.words.end(first_word), band_end = smaller(band.end * word_size, count);
  int last_begin = first + highest_bit(begins);
  bool is_last = group_end >= band_end, crosses = group_end > band_end;
  bool comes_over = first_word == band.begin && progress.begins_before(first_word, band);
  int before = comes_over ? progress.crossings[step - 1].kept : 0;  // of the group that does
  if (before >= progress.most) begins &= begins - 1;
  Span part{begins == 0 ? band_end : first + lowest_bit(begins), smaller(group_end, band_end)};
  int kept = last_begin == band.begin * word_size ? before : 0, listed = 0;  // of the last group

  int box = threadIdx.x / sharers, sharer = threadIdx.x % sharers;
  Bits next[pulled];
  int64_t next_rank = 0;
  auto fetch = [&](int word) {
    int position = word * word_size + box;
    bool is_own = position >= part.begin && position < part.end;
    const Bits* row = rows + (position - band.begin * word_size) * group_words;
#pragma unroll
    for (int k = 0; k < pulled; ++k) {
      int earlier = k * sharers + sharer;
      next[k] = is_own && first_word + earlier <= word ? row[earlier] : 0;
    }
    if (is_own && sharer == 0 && progress.ranks) next_rank = progress.ranks[position];
  };
  fetch(first_word);
  if (threadIdx.x < 2) suppressed[threadIdx.x] = 0;
  if (threadIdx.x < band.end - first_word && threadIdx.x < group_words) {
    gone[threadIdx.x] = progress.gone[first_word + threadIdx.x];
  }
  __syncthreads();
  for (int word = first_word; word * word_size < part.end; ++word) {
    int number = word - first_word;
    int64_t rank = next_rank;
    bool is_suppressed = false;
#pragma unroll
    for (int k = 0; k < pulled; ++k) {
      int earlier = k * sharers + sharer;
      if (earlier < number) is_suppressed |= (next[k] & stays[earlier]) != 0;
      if (earlier == number) own_rows[box] = next[k];
    }
    fetch(word + 1);
    // Eight bits of a warp's answer are of one box, and its four boxes follow each other.
    unsigned answers = __ballot_sync(~0u, is_suppressed);
    if (threadIdx.x % warp_size == 0 && answers != 0) {
      Bits going = 0;
      for (int k = 0; k < warp_size / sharers; ++k) going |= Bits((answers >> (k * sharers) & 0xff) != 0) << k;
      atomicOr(&suppressed[number % 2], going << box);
    }
    __syncthreads();
    if (threadIdx.x < warp_size) {
      Bits candidates = ~suppressed[number % 2] & ~gone[number] & bits_within(part, word);
      Bits staying = resolve_word(own_rows, candidates);
      if (threadIdx.x == 0) {
        stays[number] = staying;
        suppressed[(number + 1) % 2] = 0;
      }
    }
    __syncthreads();
    Bits staying = stays[number], of_last = staying & bits_from(larger(last_begin - word * word_size, 0));
    if (!progress.ranks) {
      if (threadIdx.x == 0) progress.kept[word] = staying;
    } else if (sharer == 0 && (staying >> box & 1)) {
      atomicOr(&progress.kept[rank / word_size], Bits(1) << (rank % word_size));
    }
    if (crosses && sharer == 0 && (of_last >> box & 1)) {
      progress.list[listed + __popcll(of_last & ~bits_from(box))] = word * word_size + box;
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
  Span band = progress.bands.at(step);
  if (band.begin >= band.end) return;
  Crossing crossing = progress.crossings[step];
  int begin = int(blockIdx.y) * sweep_boxes, size = smaller(crossing.listed - begin, sweep_boxes);
  int end = progress.words.end(band.end - 1);
  int64_t position = int64_t(band.end) * word_size + first_item();
  if (size <= 0 || crossing.kept >= progress.most || position - threadIdx.x >= end) return;
  for (int i = threadIdx.x; i < size; i += blockDim.x) {
    kept_boxes[i] = ranked.boxes[progress.list[begin + i]];
    kept_areas[i] = area(kept_boxes[i]);
  }
  __syncthreads();
  Bits own_bit = Bits(1) << (position % word_size);
  if (position >= end || (progress.gone[position / word_size] & own_bit)) return;
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
