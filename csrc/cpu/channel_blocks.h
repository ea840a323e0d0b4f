// Maps rearranged for the CPU: the channels of a cell side by side, in blocks that fit the vector registers, so that
// each block can be worked through by itself while its part of the map stays in the cache.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "memory.h"
#include "vector.h"

namespace detkit {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct MapSize {
  int64_t height, width;

  int64_t cells() const { return height * width; }
};

// One block of channels of a map, with the channels of a cell side by side.
template <typename T>
struct Plane {
  T* data;
  int64_t row_stride, cell_stride;  // in numbers

  DETKIT_INLINE T* cell(int64_t row, int64_t column) const { return data + row * row_stride + column * cell_stride; }
};

template <typename From, typename To>
void convert(const From* from, int64_t rows, int64_t columns, int64_t from_stride, To* to, int64_t to_stride) {
  for (int64_t row = 0; row < rows; ++row) {
    const From* own = from + row * from_stride;
    std::transform(own, own + columns, to + row * to_stride, [](From value) { return static_cast<To>(value); });
  }
}

// Rows of channels, as the kernels want them, from a tensor that is channels-last or has a plane for each channel.
template <typename From, typename To>
void read_block(
    const From* tensor, bool channels_last, int64_t cells, int64_t channels, int64_t channel, int64_t count, To* to) {
  if (channels_last) {
    convert(tensor + channel, cells, count, channels, to, count);
  } else {
    transpose(tensor + channel * cells, count, cells, cells, to, count);
  }
}

// The reverse of `read_block`.
template <typename From, typename To>
void write_block(
    const From* from, bool channels_last, int64_t cells, int64_t channels, int64_t channel, int64_t count, To* tensor) {
  if (channels_last) {
    convert(from, cells, count, count, tensor + channel, channels);
  } else {
    transpose(from, cells, count, count, tensor + channel * cells, cells);
  }
}

// The channels in blocks of four vectors, or narrower ones where that leaves threads without work.
struct Blocks {
  int64_t channels, width;

  int64_t count() const { return (channels + width - 1) / width; }
  int64_t begin(int64_t block) const { return block * width; }
  int64_t size(int64_t block) const { return std::min(width, channels - begin(block)); }
};

template <typename T>
Blocks split_channels(int64_t channels, int64_t tasks_per_block) {
  Blocks blocks{channels, 4 * lanes<T>};
  int64_t threads = torch::stable::get_num_threads();
  while (blocks.width > lanes<T> && blocks.count() * tasks_per_block < threads) blocks.width /= 2;
  return blocks;
}

template <typename T>
Tensor new_scratch(const Tensor& like, int64_t count) {
  Tensor scratch = torch::stable::new_empty(
      like, {count}, std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float);
  prefer_large_pages(scratch.mutable_data_ptr<T>(), count * sizeof(T));
  return scratch;
}

inline Tensor new_result(const Tensor& like, std::initializer_list<int64_t> shape, bool channels_last) {
  Tensor result = torch::stable::empty(
      shape, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  prefer_large_pages(result.mutable_data_ptr(), result.numel() * result.element_size());
  return result;
}

// One level's maps of all images, block by block.
template <typename From, typename T>
class LevelBlocks {
 public:
  LevelBlocks(const Tensor& maps, const Blocks& blocks, bool channels_last)
      : size_{maps.size(2), maps.size(3)}, blocks_(blocks), in_place_(channels_last && std::is_same_v<From, T>) {
    if constexpr (std::is_same_v<From, T>) {
      if (in_place_) data_ = maps.const_data_ptr<T>();
    }
    if (!in_place_) rearrange(maps, channels_last);
  }

  Plane<const T> plane(int64_t image, int64_t block) const {
    const T* map = data_ + image * blocks_.channels * size_.cells();
    if (in_place_) return {map + blocks_.begin(block), size_.width * blocks_.channels, blocks_.channels};
    int64_t width = blocks_.size(block);
    return {map + blocks_.begin(block) * size_.cells(), size_.width * width, width};
  }

 private:
  void rearrange(const Tensor& maps, bool channels_last) {
    int64_t map_numel = blocks_.channels * size_.cells();
    scratch_ = new_scratch<T>(maps, maps.numel());
    T* to = scratch_.mutable_data_ptr<T>();
    const From* from = maps.const_data_ptr<From>();
    torch::stable::parallel_for(0, maps.size(0) * blocks_.count(), 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        int64_t image = i / blocks_.count(), block = i % blocks_.count(), channel = blocks_.begin(block);
        read_block(
            from + image * map_numel, channels_last, size_.cells(), blocks_.channels, channel, blocks_.size(block),
            to + image * map_numel + channel * size_.cells());
      }
    });
    data_ = to;
  }

  MapSize size_;
  Blocks blocks_;
  bool in_place_;
  Tensor scratch_;
  const T* data_ = nullptr;
};

// The regions of each map, a map being a level of an image.
struct RegionsByMap {
  std::vector<int64_t> members;  // region by region, map by map
  std::vector<int64_t> begins;   // of each map, and the end of the last
};

inline RegionsByMap group_by_map(const std::vector<int64_t>& map_of_region, int64_t map_count) {
  RegionsByMap groups{std::vector<int64_t>(map_of_region.size()), std::vector<int64_t>(map_count + 1)};
  for (int64_t map : map_of_region) ++groups.begins[map + 1];
  for (int64_t map = 0; map < map_count; ++map) groups.begins[map + 1] += groups.begins[map];
  std::vector<int64_t> next = groups.begins;
  for (size_t k = 0; k < map_of_region.size(); ++k) groups.members[next[map_of_region[k]]++] = k;
  return groups;
}

}  // namespace detkit
