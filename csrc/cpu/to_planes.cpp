// The planes of an image on the CPU: its bytes are read and written once, and flipped on the way.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "../contiguous.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t block_size = 16;  // pixels; more at once are no faster, since memory is the limit
constexpr int64_t bytes_per_task = 1 << 20;

typedef uint8_t Block __attribute__((vector_size(block_size)));

// Whether the byte i of the given one of the three parts of a block belongs to the channel. Each i is of one part.
constexpr bool is_of(int channel, int part, int i) { return (block_size * part + i) % 3 == channel; }

// Where a channel of a pixel lies, among the bytes of all three parts that belong to this channel.
constexpr int location(int channel, int pixel) { return (3 * pixel + channel) % block_size; }

// A channel of 16 pixels, whose 48 bytes are in three parts.
template <int channel, bool mirrored, int... i>
DETKIT_INLINE Block channel_of(const Block (&parts)[3], std::integer_sequence<int, i...>) {
  constexpr Block of_first{static_cast<uint8_t>(is_of(channel, 0, i) ? 255 : 0)...};
  constexpr Block of_second{static_cast<uint8_t>(is_of(channel, 1, i) ? 255 : 0)...};
  constexpr Block of_third{static_cast<uint8_t>(is_of(channel, 2, i) ? 255 : 0)...};
  Block all = (parts[0] & of_first) | (parts[1] & of_second) | (parts[2] & of_third);
#if defined(__clang__)
  return __builtin_shufflevector(all, all, location(channel, mirrored ? block_size - 1 - i : i)...);
#else
  return __builtin_shuffle(
      all, Block{static_cast<uint8_t>(location(channel, mirrored ? block_size - 1 - i : i))...});
#endif
}

// A row of `width` pixels, to the same row of each plane.
template <bool mirrored>
DETKIT_EVERY_MACHINE void split_row(const uint8_t* from, int64_t width, uint8_t* to, int64_t plane) {
  constexpr auto bytes = std::make_integer_sequence<int, block_size>();
  int64_t last = width - block_size;
  if (last < 0) {
    for (int64_t x = 0; x < 3 * width; ++x) to[x % 3 * plane + (mirrored ? width - 1 - x / 3 : x / 3)] = from[x];
    return;
  }
  for (int64_t x = 0;; x = std::min(x + block_size, last)) {  // the last block may overlap the one before
    Block parts[3];
    for (int part = 0; part < 3; ++part) parts[part] = load<Block>(from + 3 * x + part * block_size);
    uint8_t* out = to + (mirrored ? last - x : x);
    store(out, channel_of<0, mirrored>(parts, bytes));
    store(out + plane, channel_of<1, mirrored>(parts, bytes));
    store(out + 2 * plane, channel_of<2, mirrored>(parts, bytes));
    if (x == last) return;
  }
}

// (H, W, 3) uint8 to (3, H, W).
Tensor to_planes(Tensor image, bool flip_x, bool flip_y) {
  STD_TORCH_CHECK(
      image.dim() == 3 && image.size(2) == 3 && image.scalar_type() == ScalarType::Byte,
      "image must be (H, W, 3) uint8");
  image = as_contiguous(image);
  int64_t height = image.size(0), width = image.size(1), plane = height * width;
  Tensor planes = torch::stable::new_empty(image, {3, height, width});
  if (plane == 0) return planes;
  const uint8_t* from = image.const_data_ptr<uint8_t>();
  uint8_t* to = planes.mutable_data_ptr<uint8_t>();
  int64_t rows_per_task = std::max<int64_t>(1, bytes_per_task / (3 * width));
  torch::stable::parallel_for(0, height, rows_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      uint8_t* row = to + (flip_y ? height - 1 - y : y) * width;
      (flip_x ? split_row<true> : split_row<false>)(from + 3 * y * width, width, row, plane);
    }
  });
  return planes;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) { m.impl("to_planes", TORCH_BOX(&to_planes)); }

}  // namespace detkit
