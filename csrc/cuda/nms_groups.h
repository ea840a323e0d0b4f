// The boxes of a suppression group by group, of each group best first, and the bands that they are taken in.
#pragma once

#include "../nms.h"
#include "launch.h"

namespace detkit {
namespace {

using Bits = unsigned long long;

constexpr int word_size = 64;          // boxes to a word of bits
constexpr int group_words = 64;        // words that a group has in a band, at most
constexpr int longest_band = 128;      // words to a band, at most
constexpr int most_boxes = 1 << 30;    // positions are int
constexpr int plan_threads = longest_band - group_words;

// From the first up to but not including the last.
struct Span {
  int begin, end;
};

// A box's number here is its position. Words are of boxes that follow each other, perhaps of several groups.
template <typename T>
struct Ranked {
  const Box<T>* boxes;
  const int64_t* groups;  // sorted; absent where all boxes are of one group
  int count;
  T threshold;

  __device__ int word_count() const { return (count + word_size - 1) / word_size; }
  __device__ int64_t group(int position) const { return groups ? groups[position] : 0; }
};

// Of each word: where the group of its first box begins, and where that of its last box ends.
struct Words {
  const Span* spans;  // absent where all boxes are of one group
  int count;          // of boxes

  __device__ int begin(int word) const { return spans ? spans[word].begin : 0; }
  __device__ int end(int word) const { return spans ? spans[word].end : count; }
};

// The words that each step takes. A group has no more than `group_words` of them in a band, since its rows of bits
// have no more; small groups, however, are taken many at a time. Each band but the last has `group_words` at least,
// which bounds the number of steps: the host does not know the groups.
struct Bands {
  const Span* spans;  // absent where all boxes are of one group
  int word_count;

  __device__ Span at(int step) const {
    if (spans) return spans[step];
    return {step * group_words, smaller((step + 1) * group_words, word_count)};
  }
};

// The first position that `is_after` holds for, which it does for all that follow.
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

// The groups in order of rank: labels, or images with labels.
__global__ void group_kernel(
    const int64_t* order, const int64_t* image_index, const int64_t* labels, int64_t images, int count,
    int64_t* groups) {
  for (int64_t rank = first_item(); rank < count; rank += item_stride()) {
    int64_t index = order[rank], label = labels ? labels[index] : 0;
    groups[rank] = image_index ? group_of(image_index[index], label, images) : label;
  }
}

__global__ void word_kernel(const int64_t* groups, int count, Span* words) {
  int64_t word_count = (int64_t(count) + word_size - 1) / word_size;
  for (int64_t word = first_item(); word < word_count; word += item_stride()) {
    int first = int(word) * word_size, last = smaller(first + word_size, count) - 1;
    int64_t begins = groups[first], ends = groups[last];
    words[word].begin = first_after(0, first, [&](int position) { return groups[position] >= begins; });
    words[word].end = first_after(last + 1, count, [&](int position) { return groups[position] > ends; });
  }
}

// One block tells the bands, one after the other.
__global__ void plan_kernel(const Span* words, int word_count, int steps, Span* bands) {
  __shared__ int end;
  int begin = 0;
  for (int step = 0; step < steps; ++step) {
    if (threadIdx.x == 0) end = smaller(begin + longest_band, word_count);
    __syncthreads();
    int word = begin + group_words + int(threadIdx.x);
    if (word < word_count && word - larger(words[word].begin / word_size, begin) >= group_words) {
      atomicMin(&end, word);
    }
    __syncthreads();
    if (threadIdx.x == 0) bands[step] = {begin, end};
    begin = end;
    __syncthreads();
  }
}

}  // namespace
}  // namespace detkit
