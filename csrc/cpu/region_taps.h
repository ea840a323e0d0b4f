// Which rows and columns of its map a region's bins are averages of.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "../roi_align.h"
#include "channel_blocks.h"

namespace detkit {

// What the regions are cropped by, beside the maps.
struct Cropping {
  std::vector<double> scales;
  LevelRule levels;
  int64_t height, width, sampling_ratio;
  bool aligned, channels_last;

  int64_t bins() const { return height * width; }
};

// A row or a column of the map and its weight in a bin.
template <typename T>
struct Tap {
  int64_t at;
  T weight;
};

// The taps of all bins along one axis, bin by bin, and where those of each bin begin and those of the last end.
template <typename T>
struct Taps {
  Tap<T>* taps;
  int32_t* begins;
};

// The taps that a bin has at most: two for each sample. Samples move upwards, unless the axis is upside down, and
// those on one cell share its tap.
template <typename T>
int64_t most_taps(const Axis<T>& axis, int64_t cells) {
  return axis.bin_length >= T(0) ? std::min(2 * axis.samples, cells) : 2 * axis.samples;
}

// Neighboring samples share rows, which are counted once with their weights' sum.
template <typename T>
void collect_taps(const Axis<T>& axis, int64_t bins, int64_t cells, const Taps<T>& result) {
  T share = T(1) / T(std::max<int64_t>(axis.samples, 1));
  int32_t count = 0, begin = 0;
  for (int64_t bin = 0; bin < bins; ++bin) {
    result.begins[bin] = begin = count;
    auto add = [&](int64_t at, T weight) {
      if (weight == T(0)) return;
      // What was seen before is one of the last two.
      for (int32_t i = std::max(begin, count - 2); i < count; ++i) {
        if (result.taps[i].at == at) {
          result.taps[i].weight += weight;
          return;
        }
      }
      result.taps[count++] = {at, weight};
    };
    for (int64_t i = 0; i < axis.samples; ++i) {
      Sample<T> sample;
      if (!sample_at(axis.position(bin, i), cells, sample)) continue;
      add(sample.low, sample.low_weight * share);
      add(sample.high, sample.high_weight * share);
    }
  }
  result.begins[bins] = count;
}

template <typename T>
struct Region {
  int64_t level, image;
  Taps<T> rows, columns;
};

// The regions, and the memory of their taps: in one piece, since threads that allocate small pieces, for another to
// free, take longer than to fill them.
template <typename T>
struct Regions {
  std::vector<Region<T>> list;
  int64_t height, width;  // bins of each
  std::unique_ptr<Tap<T>[]> taps;
  std::unique_ptr<int32_t[]> begins;
};

template <typename T>
Regions<T> collect_regions(
    const torch::stable::Tensor& rois, const Cropping& cropping, const std::vector<MapSize>& sizes, int64_t batch) {
  const T* data = rois.const_data_ptr<T>();
  int64_t count = rois.size(0), height = cropping.height, width = cropping.width;
  Regions<T> regions{std::vector<Region<T>>(count), height, width, nullptr, nullptr};
  auto axes_of = [&](int64_t k) {
    const T* roi = data + 5 * k;
    T scale = static_cast<T>(cropping.scales[regions.list[k].level]);
    return std::pair{
        region_axis(roi[2], roi[4], scale, height, cropping.sampling_ratio, cropping.aligned),
        region_axis(roi[1], roi[3], scale, width, cropping.sampling_ratio, cropping.aligned)};
  };
  std::vector<int64_t> offsets{0};  // of each region's taps
  offsets.reserve(count + 1);
  for (int64_t k = 0; k < count; ++k) {
    T image = data[5 * k];
    STD_TORCH_CHECK(
        image >= 0 && image < T(batch), "rois[", k, ", 0] names image ", image, ", but there are ", batch, " images");
    regions.list[k].level = cropping.levels.level_of(data + 5 * k);
    auto [down, across] = axes_of(k);
    MapSize size = sizes[regions.list[k].level];
    int64_t most = height * most_taps(down, size.height) + width * most_taps(across, size.width);
    STD_TORCH_CHECK(most <= INT32_MAX, "roi_align: a sampling ratio of ", cropping.sampling_ratio, " is too large");
    offsets.push_back(offsets.back() + most);
  }
  regions.taps.reset(new Tap<T>[offsets.back()]);
  regions.begins.reset(new int32_t[count * (height + width + 2)]);
  torch::stable::parallel_for(0, count, 128, [&](int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
      MapSize size = sizes[regions.list[k].level];
      auto [down, across] = axes_of(k);
      Taps<T> rows{&regions.taps[offsets[k]], &regions.begins[k * (height + width + 2)]};
      Taps<T> columns{rows.taps + height * most_taps(down, size.height), rows.begins + height + 1};
      collect_taps(down, height, size.height, rows);
      collect_taps(across, width, size.width, columns);
      regions.list[k] = {regions.list[k].level, static_cast<int64_t>(data[5 * k]), rows, columns};
    }
  });
  return regions;
}

}  // namespace detkit
