// Vectors of 64 bytes that the compiler maps to whatever registers the machine has, and the transposition of matrices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

// A function marked so is compiled several times, and the machine's best version is chosen when the library loads.
// The library can so be built on one machine and run on another. (The choice is made before sanitizers are ready.)
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(DETKIT_SANITIZE)
#define DETKIT_EVERY_MACHINE __attribute__((target_clones("avx512f", "avx2", "default")))
// The same for functions that add products without rounding them before, which AVX2 alone does not include.
#define DETKIT_FUSING_MACHINE __attribute__((target_clones("avx512f", "fma", "default")))
#else
#define DETKIT_EVERY_MACHINE
#define DETKIT_FUSING_MACHINE
#endif

// What such a function calls must become part of it.
#define DETKIT_INLINE inline __attribute__((always_inline))

namespace detkit {

template <typename T>
struct VectorOf {
  typedef T type __attribute__((vector_size(64)));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
constexpr int64_t lanes = 64 / sizeof(T);

template <typename V, typename T>
DETKIT_INLINE V load(const T* from) {
  V vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

template <typename V, typename T>
DETKIT_INLINE void store(T* to, const V& vector) {
  std::memcpy(to, &vector, sizeof vector);
}

// A matrix (rows, columns) to (columns, rows). Strides are the distances from row to row, in elements.
template <typename From, typename To>
DETKIT_INLINE void transpose_plainly(
    const From* from, int64_t rows, int64_t columns, int64_t from_stride, To* to, int64_t to_stride) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      to[column * to_stride + row] = static_cast<To>(from[row * from_stride + column]);
    }
  }
}

template <typename T>
struct EightOf {
  typedef T type __attribute__((vector_size(8 * sizeof(T))));
};
typedef int32_t EightIndices __attribute__((vector_size(32)));

#if defined(__clang__)
#define DETKIT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DETKIT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, EightIndices{__VA_ARGS__})
#endif

// Eight rows of eight: pairs of rows are interleaved by one element, then by two, then by four.
template <typename T>
DETKIT_INLINE void transpose_eight(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  using Eight = typename EightOf<T>::type;
  Eight row[8], by_one[8], by_two[8];
  for (int i = 0; i < 8; ++i) row[i] = load<Eight>(from + i * from_stride);
  for (int i = 0; i < 8; i += 2) {
    by_one[i] = DETKIT_SHUFFLE(row[i], row[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    by_one[i + 1] = DETKIT_SHUFFLE(row[i], row[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = i; j < i + 2; ++j) {
      by_two[j] = DETKIT_SHUFFLE(by_one[j], by_one[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      by_two[j + 2] = DETKIT_SHUFFLE(by_one[j], by_one[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; ++j) {
    store(to + j * to_stride, DETKIT_SHUFFLE(by_two[j], by_two[j + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store(to + (j + 4) * to_stride, DETKIT_SHUFFLE(by_two[j], by_two[j + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

// Of numbers of four bytes.
template <typename T>
DETKIT_EVERY_MACHINE static void transpose_words(
    const T* from, int64_t rows, int64_t columns, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int64_t line = 16;  // numbers in a line of the cache, which is best read once and whole
  int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (int64_t strip = 0; strip < whole_columns; strip += line) {
    for (int64_t row = 0; row < whole_rows; row += 8) {
      for (int64_t column = strip; column < std::min(strip + line, whole_columns); column += 8) {
        transpose_eight(from + row * from_stride + column, from_stride, to + column * to_stride + row, to_stride);
      }
    }
  }
  const T* last_columns = from + whole_columns;
  const T* last_rows = from + whole_rows * from_stride;
  transpose_plainly(
      last_columns, rows, columns - whole_columns, from_stride, to + whole_columns * to_stride, to_stride);
  transpose_plainly(last_rows, rows - whole_rows, whole_columns, from_stride, to + whole_rows, to_stride);
}

template <typename From, typename To>
void transpose(const From* from, int64_t rows, int64_t columns, int64_t from_stride, To* to, int64_t to_stride) {
  if constexpr (std::is_same_v<From, To> && sizeof(From) == 4) {
    transpose_words(from, rows, columns, from_stride, to, to_stride);
  } else {
    constexpr int64_t tile = 32;
    for (int64_t row = 0; row < rows; row += tile) {
      transpose_plainly(
          from + row * from_stride, std::min(tile, rows - row), columns, from_stride, to + row, to_stride);
    }
  }
}

}  // namespace detkit
