// How the numbers of crops (K, C, height, width) are shared out: those of a region lie side by side in either memory
// format, and a block takes a run of them.
#pragma once

#include <torch/csrc/stable/ops.h>

#include "launch.h"

namespace detkit {

constexpr int crop_run = 2048;  // numbers to a block

// A number of a crop.
struct CropNumber {
  int channel, y, x;
};

struct CropShape {
  int64_t regions;
  int channels, height, width;
  bool channels_last;

  static CropShape of(int64_t regions, int64_t channels, int64_t height, int64_t width, bool channels_last) {
    STD_TORCH_CHECK(
        channels * height * width <= INT32_MAX / 2, "a crop of ", channels, " x ", height, " x ", width,
        " is too large");
    return {regions, int(channels), int(height), int(width), channels_last};
  }

  // Of one crop.
  __host__ __device__ int numbers() const { return channels * height * width; }
  __host__ __device__ int runs() const { return (numbers() + crop_run - 1) / crop_run; }

  __device__ CropNumber at(int number) const {
    int bins = height * width, channel = channels_last ? number % channels : number / bins;
    int bin = channels_last ? number / channels : number % bins;
    return {channel, bin / width, bin % width};
  }
};

inline unsigned blocks_for(const CropShape& shape) {
  return static_cast<unsigned>(std::min<int64_t>(shape.regions * shape.runs(), INT32_MAX));
}

// Calls `start(region)` before the runs of a region, and `visit(region, number)` for each of this thread's numbers. All
// threads of a block are at the same run.
template <typename Start, typename Visit>
__device__ void for_each_number(const CropShape& shape, const Start& start, const Visit& visit) {
  for (int64_t run = blockIdx.x; run < shape.regions * shape.runs(); run += gridDim.x) {
    int64_t region = run / shape.runs();
    int begin = int(run % shape.runs()) * crop_run;
    int end = begin + crop_run < shape.numbers() ? begin + crop_run : shape.numbers();
    start(region);
    for (int number = begin + int(threadIdx.x); number < end; number += int(blockDim.x)) visit(region, number);
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

}  // namespace detkit
