// RoIAlign on the CPU. Maps are brought to channels-last, so that all channels of a cell lie side by side; the samples
// of a bin then become one short list of cells and weights, the same for every channel.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// What the regions are cropped by, beside the maps.
struct Cropping {
  std::vector<double> scales;
  int64_t height, width, sampling_ratio;
  bool aligned;
};

// A cell of the map and its weight in a bin.
template <typename T>
struct Tap {
  int64_t cell;
  T weight;
};

// The taps of all bins, one after the other.
template <typename T>
struct Taps {
  std::vector<Tap<T>> taps;
  std::vector<int64_t> begins;  // of each bin, and the end of the last

  void clear() {
    taps.clear();
    begins.assign(1, 0);
  }
  void end_bin() { begins.push_back(static_cast<int64_t>(taps.size())); }
};

// One axis: neighbouring samples share cells, which are counted once with their weights' sum.
template <typename T>
void collect_axis(const Axis<T>& axis, int64_t bins, int64_t cells, Taps<T>& result) {
  result.clear();
  T share = T(1) / T(std::max<int64_t>(axis.samples, 1));
  for (int64_t bin = 0; bin < bins; ++bin) {
    size_t begin = result.taps.size();
    auto add = [&](int64_t cell, T weight) {
      if (weight == T(0)) return;
      // Positions increase, so a cell that was seen is one of the last two.
      for (size_t i = result.taps.size(); i > begin && i + 2 > result.taps.size(); --i) {
        if (result.taps[i - 1].cell == cell) {
          result.taps[i - 1].weight += weight;
          return;
        }
      }
      result.taps.push_back({cell, weight});
    };
    for (int64_t i = 0; i < axis.samples; ++i) {
      Sample<T> sample;
      if (!sample_at(axis.position(bin, i), cells, sample)) continue;
      add(sample.low, sample.low_weight * share);
      add(sample.high, sample.high_weight * share);
    }
    result.end_bin();
  }
}

// The taps of every bin of one region, row of bins by row of bins. Keeps its memory from region to region.
template <typename T>
class RegionTaps {
 public:
  const Taps<T>& collect(const T* roi, T scale, const Cropping& cropping, int64_t map_height, int64_t map_width) {
    collect_axis(
        region_axis(roi[2], roi[4], scale, cropping.height, cropping.sampling_ratio, cropping.aligned),
        cropping.height, map_height, rows_);
    collect_axis(
        region_axis(roi[1], roi[3], scale, cropping.width, cropping.sampling_ratio, cropping.aligned), cropping.width,
        map_width, columns_);
    both_.clear();
    for (int64_t y = 0; y < cropping.height; ++y) {
      for (int64_t x = 0; x < cropping.width; ++x) {
        for (int64_t i = rows_.begins[y]; i < rows_.begins[y + 1]; ++i) {
          for (int64_t j = columns_.begins[x]; j < columns_.begins[x + 1]; ++j) {
            const Tap<T>&row = rows_.taps[i], &column = columns_.taps[j];
            both_.taps.push_back({row.cell * map_width + column.cell, row.weight * column.weight});
          }
        }
        both_.end_bin();
      }
    }
    return both_;
  }

 private:
  Taps<T> rows_, columns_, both_;
};

// (rows, columns) to (columns, rows); strides are the distances from row to row.
template <typename From, typename To>
void transpose(const From* from, int64_t rows, int64_t columns, int64_t from_stride, To* to, int64_t to_stride) {
  constexpr int64_t tile = 16;
  for (int64_t row = 0; row < rows; row += tile) {
    for (int64_t column = 0; column < columns; column += tile) {
      for (int64_t j = column; j < std::min(column + tile, columns); ++j) {
        for (int64_t i = row; i < std::min(row + tile, rows); ++i) {
          to[j * to_stride + i] = static_cast<To>(from[i * from_stride + j]);
        }
      }
    }
  }
}

// The weighted sum of cells, over `channels` channels that lie side by side.
template <typename T>
void gather(const T* map, const Tap<T>* tap, const Tap<T>* end, int64_t channels, T* out) {
  std::fill(out, out + channels, T(0));
  for (; tap != end; ++tap) {
    const T* cell = map + tap->cell * channels;
    for (int64_t c = 0; c < channels; ++c) out[c] += tap->weight * cell[c];
  }
}

template <typename T>
void scatter(T* map, const Tap<T>* tap, const Tap<T>* end, int64_t channels, const T* gradient) {
  for (; tap != end; ++tap) {
    T* cell = map + tap->cell * channels;
    for (int64_t c = 0; c < channels; ++c) cell[c] += tap->weight * gradient[c];
  }
}

// A map (B, C, H, W) as (B, H, W, C) in the type of the arithmetic; the map itself when it is so already.
template <typename From, typename T>
Tensor cells_first(const Tensor& map, bool channels_last) {
  int64_t batch = map.size(0), channels = map.size(1), cells = map.size(2) * map.size(3);
  if constexpr (std::is_same_v<From, T>) {
    if (channels_last) return map;
  }
  constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;
  Tensor result = torch::stable::new_empty(map, {batch, cells, channels}, type);
  const From* from = map.const_data_ptr<From>();
  T* to = result.mutable_data_ptr<T>();
  if (channels_last) {
    torch::stable::parallel_for(0, map.numel(), 32768, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) to[i] = static_cast<T>(from[i]);
    });
    return result;
  }
  constexpr int64_t strip = 64;  // cells
  int64_t strips = (cells + strip - 1) / strip;
  torch::stable::parallel_for(0, batch * strips, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      int64_t start = i / strips * channels * cells, cell = i % strips * strip;
      transpose(
          from + start + cell, channels, std::min(strip, cells - cell), cells, to + start + cell * channels, channels);
    }
  });
  return result;
}

void check_rois(const int64_t* levels, int64_t level_count, int64_t region_count, int64_t batch, const auto* rois) {
  for (int64_t k = 0; k < region_count; ++k) {
    auto image = rois[5 * k];
    STD_TORCH_CHECK(
        image >= 0 && image < batch, "rois[", k, ", 0] names image ", image, ", but the features hold ", batch,
        " images");
    STD_TORCH_CHECK(levels[k] >= 0 && levels[k] < level_count, "levels[", k, "] is not a level of the features");
  }
}

template <typename From, typename T>
Tensor crop(
    const std::vector<Tensor>& features, const Tensor& rois, const Tensor& levels, const Cropping& cropping,
    bool channels_last) {
  int64_t region_count = rois.size(0), batch = features[0].size(0), channels = features[0].size(1);
  int64_t bins = cropping.height * cropping.width;
  const T* roi_data = rois.const_data_ptr<T>();
  const int64_t* level_data = levels.const_data_ptr<int64_t>();
  check_rois(level_data, features.size(), region_count, batch, roi_data);

  std::vector<Tensor> maps;
  std::vector<const T*> map_data;
  for (const Tensor& feature : features) {
    maps.push_back(cells_first<From, T>(feature, channels_last));
    map_data.push_back(maps.back().const_data_ptr<T>());
  }
  Tensor result = torch::stable::empty(
      {region_count, channels, cropping.height, cropping.width}, features[0].scalar_type(), std::nullopt,
      features[0].device(), std::nullopt, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  From* out = result.mutable_data_ptr<From>();

  torch::stable::parallel_for(0, region_count, 1, [&](int64_t first, int64_t last) {
    RegionTaps<T> region_taps;
    std::vector<T> scratch(bins * channels);
    for (int64_t k = first; k < last; ++k) {
      const T* roi = roi_data + 5 * k;
      int64_t level = level_data[k], map_height = features[level].size(2), map_width = features[level].size(3);
      const Taps<T>& taps = region_taps.collect(roi, T(cropping.scales[level]), cropping, map_height, map_width);
      const T* map = map_data[level] + static_cast<int64_t>(roi[0]) * map_height * map_width * channels;
      for (int64_t bin = 0; bin < bins; ++bin) {
        const Tap<T>* begin = taps.taps.data();
        gather(map, begin + taps.begins[bin], begin + taps.begins[bin + 1], channels, &scratch[bin * channels]);
      }
      From* own = out + k * bins * channels;
      if (channels_last) {
        std::transform(scratch.begin(), scratch.end(), own, [](T value) { return static_cast<From>(value); });
      } else {
        transpose(scratch.data(), bins, channels, channels, own, bins);
      }
    }
  });
  return result;
}

template <typename From, typename T>
std::vector<Tensor> spread(
    const Tensor& gradient, const Tensor& rois, const Tensor& levels, const Cropping& cropping, int64_t batch,
    const std::vector<int64_t>& heights, const std::vector<int64_t>& widths, bool channels_last) {
  int64_t region_count = rois.size(0), channels = gradient.size(1), bins = cropping.height * cropping.width;
  const T* roi_data = rois.const_data_ptr<T>();
  const int64_t* level_data = levels.const_data_ptr<int64_t>();
  const From* gradient_data = gradient.const_data_ptr<From>();
  constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

  std::vector<Tensor> results;
  for (size_t level = 0; level < heights.size(); ++level) {
    int64_t height = heights[level], width = widths[level], cells = height * width;
    Tensor map = torch::stable::new_zeros(gradient, {batch, cells, channels}, type);
    T* map_data = map.mutable_data_ptr<T>();
    torch::stable::parallel_for(0, batch, 1, [&](int64_t first, int64_t last) {
      RegionTaps<T> region_taps;
      std::vector<T> scratch(bins * channels);
      for (int64_t k = 0; k < region_count; ++k) {
        const T* roi = roi_data + 5 * k;
        int64_t image = static_cast<int64_t>(roi[0]);
        if (level_data[k] != static_cast<int64_t>(level) || image < first || image >= last) continue;
        const Taps<T>& taps = region_taps.collect(roi, T(cropping.scales[level]), cropping, height, width);
        const From* own = gradient_data + k * bins * channels;
        if (channels_last) {
          std::copy(own, own + bins * channels, scratch.begin());
        } else {
          transpose(own, channels, bins, bins, scratch.data(), channels);
        }
        for (int64_t bin = 0; bin < bins; ++bin) {
          const Tap<T>* begin = taps.taps.data();
          scatter(
              map_data + image * cells * channels, begin + taps.begins[bin], begin + taps.begins[bin + 1], channels,
              &scratch[bin * channels]);
        }
      }
    });
    Tensor result = torch::stable::empty(
        {batch, channels, height, width}, gradient.scalar_type(), std::nullopt, gradient.device(), std::nullopt,
        channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
    From* out = result.mutable_data_ptr<From>();
    for (int64_t image = 0; image < batch; ++image) {
      int64_t start = image * cells * channels;
      if (channels_last) {
        std::copy(map_data + start, map_data + start + cells * channels, out + start);
      } else {
        transpose(map_data + start, cells, channels, channels, out + start, cells);
      }
    }
    results.push_back(result);
  }
  return results;
}

Tensor roi_align(
    std::vector<Tensor> features, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t height,
    int64_t width, int64_t sampling_ratio, bool aligned, bool channels_last) {
  Cropping cropping{spatial_scales, height, width, sampling_ratio, aligned};
  switch (features[0].scalar_type()) {
    case ScalarType::Half:
      return crop<Half, float>(features, rois, levels, cropping, channels_last);
    case ScalarType::BFloat16:
      return crop<BFloat16, float>(features, rois, levels, cropping, channels_last);
    case ScalarType::Double:
      return crop<double, double>(features, rois, levels, cropping, channels_last);
    default:
      return crop<float, float>(features, rois, levels, cropping, channels_last);
  }
}

std::vector<Tensor> roi_align_backward(
    Tensor gradient, Tensor rois, Tensor levels, std::vector<double> spatial_scales, int64_t batch,
    std::vector<int64_t> heights, std::vector<int64_t> widths, int64_t sampling_ratio, bool aligned,
    bool channels_last) {
  Cropping cropping{spatial_scales, gradient.size(2), gradient.size(3), sampling_ratio, aligned};
  switch (gradient.scalar_type()) {
    case ScalarType::Half:
      return spread<Half, float>(gradient, rois, levels, cropping, batch, heights, widths, channels_last);
    case ScalarType::BFloat16:
      return spread<BFloat16, float>(gradient, rois, levels, cropping, batch, heights, widths, channels_last);
    case ScalarType::Double:
      return spread<double, double>(gradient, rois, levels, cropping, batch, heights, widths, channels_last);
    default:
      return spread<float, float>(gradient, rois, levels, cropping, batch, heights, widths, channels_last);
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace detkit
