// How the numbers of crops (K, C, height, width) are shared out. The channels of a cell lie side by side: a thread
// takes 16 bytes of them, as far as their number allows, and some of the bins of a region.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>

#include "launch.h"

namespace detkit {

// Numbers that are read and written at once.
template <typename S, int size>
struct alignas(size * sizeof(S)) Vector {
  S values[size];

  __device__ static Vector at(const S* data) { return *reinterpret_cast<const Vector*>(data); }
  __device__ void store(S* data) const { *reinterpret_cast<Vector*>(data) = *this; }
};

// Whether vectors of so many numbers can be read from there.
template <typename S>
bool has_vectors(const S* data, int64_t channels, int size) {
  return channels % size == 0 && reinterpret_cast<uintptr_t>(data) % (size * sizeof(S)) == 0;
}

struct CropShape {
  int64_t regions;
  int channels, height, width;

  static CropShape of(int64_t regions, int64_t channels, int64_t height, int64_t width) {
    STD_TORCH_CHECK(
        channels * height * width <= INT32_MAX / 2, "a crop of ", channels, " x ", height, " x ", width,
        " is too large");
    return {regions, int(channels), int(height), int(width)};
  }

  // Of one crop.
  __host__ __device__ int bins() const { return height * width; }
};

// How the threads of a block share a part of a region's channels: `vectors` of `size` channels side by side, and as
// many bins at once as there are threads for.
struct CropLanes {
  int size, vectors, parts;

  static CropLanes of(const CropShape& shape, int size, int most_vectors) {
    int needed = (shape.channels + size - 1) / size, vectors = 1;
    while (vectors < needed && vectors < most_vectors) vectors *= 2;
    return {size, vectors, (needed + vectors - 1) / vectors};
  }

  __host__ __device__ int channels() const { return vectors * size; }  // of a part
  __device__ int vector() const { return int(threadIdx.x) % vectors; }
  __device__ int lane() const { return int(threadIdx.x) / vectors; }
  __device__ int lanes() const { return int(blockDim.x) / vectors; }
};

inline unsigned blocks_for(const CropShape& shape, const CropLanes& lanes) {
  return static_cast<unsigned>(std::min<int64_t>(shape.regions * lanes.parts, INT32_MAX));
}

// Calls `visit(region, first_channel)` for the parts of regions that are a block's. All its threads are at the same.
template <typename Visit>
__device__ void for_each_part(const CropShape& shape, const CropLanes& lanes, const Visit& visit) {
  for (int64_t part = blockIdx.x; part < shape.regions * lanes.parts; part += gridDim.x) {
    visit(part / lanes.parts, int(part % lanes.parts) * lanes.channels());
  }
}

// Numbers of a part of a crop, turned in shared memory on their way to a result whose channels do not lie side by side.
template <typename S>
struct CropTile {
  static constexpr int numbers_at_most = 25 * 1024 / sizeof(S);  // 49 bins of 128 channels in float
  static constexpr int padding = sizeof(S) < 4 ? 4 / sizeof(S) : 1;  // threads side by side then have their own banks
  S numbers[numbers_at_most];

  __host__ __device__ static int stride(const CropLanes& lanes) { return lanes.channels() + padding; }

  // The bins that go through at once: about the same number each time.
  static int bins(const CropShape& shape, const CropLanes& lanes) {
    int most = numbers_at_most / stride(lanes), times = (shape.bins() + most - 1) / most;
    return (shape.bins() + times - 1) / times;
  }

  template <int size>
  __device__ void put(const CropLanes& lanes, int bin, const Vector<S, size>& vector) {
    S* own = numbers + bin * stride(lanes) + lanes.vector();
#pragma unroll
    for (int i = 0; i < size; ++i) own[i * lanes.vectors] = vector.values[i];
  }

  // By all threads of the block, which then may put the next bins.
  __device__ void write(
      const CropShape& shape, const CropLanes& lanes, int64_t region, int first_channel, int first_bin, int bins,
      S* out) const {
    __syncthreads();
    int channels = shape.channels - first_channel;
    if (channels > lanes.channels()) channels = lanes.channels();
    S* to = out + (region * shape.channels + first_channel) * shape.bins() + first_bin;
    for (int i = threadIdx.x; i < channels * bins; i += blockDim.x) {
      int channel = i / bins, bin = i % bins, place = channel % lanes.size * lanes.vectors + channel / lanes.size;
      to[int64_t(channel) * shape.bins() + bin] = numbers[bin * stride(lanes) + place];
    }
    __syncthreads();
  }
};

// Where a kernel writes its crops, in either memory format. `tile_bins` are all, unless they are turned.
template <typename S>
struct CropsOut {
  S* data;
  int tile_bins;

  static CropsOut of(S* data, const CropShape& shape, const CropLanes& lanes, bool is_turned) {
    return {data, is_turned ? CropTile<S>::bins(shape, lanes) : std::max(1, shape.bins())};
  }
};

// Fills a part of a crop: `number(bin, channel)` gives those of a bin from this thread's first channel on.
template <typename S, int size, bool is_turned, typename Number>
__device__ void fill_part(
    const CropShape& shape, const CropLanes& lanes, int64_t region, int first_channel, const CropsOut<S>& out,
    const Number& number) {
  int channel = first_channel + lanes.vector() * size;
  if constexpr (is_turned) {
    __shared__ CropTile<S> tile;
    for (int first = 0; first < shape.bins(); first += out.tile_bins) {
      int bins = shape.bins() - first < out.tile_bins ? shape.bins() - first : out.tile_bins;
      for (int bin = lanes.lane(); bin < bins && channel < shape.channels; bin += lanes.lanes()) {
        tile.put(lanes, bin, number(first + bin, channel));
      }
      tile.write(shape, lanes, region, first_channel, first, bins, out.data);
    }
  } else if (channel < shape.channels) {
    S* to = out.data + region * shape.bins() * shape.channels + channel;
    for (int bin = lanes.lane(); bin < shape.bins(); bin += lanes.lanes()) {
      number(bin, channel).store(to + int64_t(bin) * shape.channels);
    }
  }
}

inline torch::stable::Tensor new_tensor(
    const torch::stable::Tensor& like, std::initializer_list<int64_t> shape, torch::headeronly::ScalarType type,
    bool channels_last) {
  using torch::headeronly::MemoryFormat;
  return torch::stable::empty(
      shape, type, std::nullopt, like.device(), std::nullopt,
      channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

// Whether the channels of a cell do not lie side by side.
inline bool has_channels_apart(const torch::stable::Tensor& tensor, bool channels_last) {
  return !channels_last && tensor.size(1) > 1;
}

// The tensor (N, C, H, W) with the channels of a cell side by side, copied where they are not.
inline torch::stable::Tensor with_channels_together(const torch::stable::Tensor& tensor, bool channels_last) {
  return has_channels_apart(tensor, channels_last)
             ? torch::stable::contiguous(tensor, torch::headeronly::MemoryFormat::ChannelsLast)
             : tensor;
}

}  // namespace detkit
