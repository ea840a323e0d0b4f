// RoIPool on the CPU. Maps are rearranged to have the channels of a cell side by side, so that the greatest of many
// channels are found at once.
#include "../roi_pool.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../contiguous.h"
#include "../feature_type.h"
#include "channel_blocks.h"
#include "vector.h"

namespace detkit {
namespace {

// An integer as wide as a feature, so that vectors of both have as many lanes.
template <typename T>
using CellOf = std::conditional_t<std::is_same_v<T, double>, int64_t, int32_t>;

// The regions, each with the ranges of cells of its bins: first the rows', then the columns'.
struct PoolRegions {
  std::vector<int64_t> images;
  int64_t height, width;  // bins of each
  std::vector<CellRange> ranges;

  const CellRange* rows(int64_t k) const { return &ranges[k * (height + width)]; }
  const CellRange* columns(int64_t k) const { return rows(k) + height; }
};

// The image of each region.
template <typename T>
std::vector<int64_t> images_of(const Tensor& rois, int64_t batch) {
  const T* data = rois.const_data_ptr<T>();
  std::vector<int64_t> images(rois.size(0));
  for (size_t k = 0; k < images.size(); ++k) {
    T image = data[5 * k];
    STD_TORCH_CHECK(
        image >= 0 && image < T(batch), "rois[", k, ", 0] names image ", image, ", but there are ", batch, " images");
    images[k] = static_cast<int64_t>(image);
  }
  return images;
}

template <typename T>
PoolRegions collect_regions(
    const Tensor& rois, T scale, int64_t height, int64_t width, MapSize size, int64_t batch) {
  const T* data = rois.const_data_ptr<T>();
  int64_t count = rois.size(0);
  PoolRegions regions{images_of<T>(rois, batch), height, width, std::vector<CellRange>(count * (height + width))};
  torch::stable::parallel_for(0, count, 256, [&](int64_t first, int64_t last) {
    CellRange* next = regions.ranges.data() + first * (height + width);
    for (int64_t k = first; k < last; ++k) {
      const T* roi = data + 5 * k;
      PoolAxis<T> down = pool_axis(roi[2], roi[4], scale, height), across = pool_axis(roi[1], roi[3], scale, width);
      for (int64_t bin = 0; bin < height; ++bin) *next++ = down.bin(bin, size.height);
      for (int64_t bin = 0; bin < width; ++bin) *next++ = across.bin(bin, size.width);
    }
  });
  return regions;
}

// The greatest features of one bin, in `count` vectors of channels, and their cells. Of equal ones the first counts.
template <int count, typename T>
DETKIT_INLINE void pool_bin(
    const Plane<const T>& plane, CellRange rows, CellRange columns, int64_t map_width, int64_t channel, T* out,
    CellOf<T>* cells) {
  using Cells = Vector<CellOf<T>>;
  Vector<T> greatest[count];
  Cells found[count];
  for (int v = 0; v < count; ++v) {
    greatest[v] = Vector<T>{} + least_feature<T>;
    found[v] = Cells{} - 1;
  }
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      const T* features = plane.cell(row, column) + channel;
      Cells cell = Cells{} + static_cast<CellOf<T>>(row * map_width + column);
      for (int v = 0; v < count; ++v) {
        Vector<T> feature = load<Vector<T>>(features + v * lanes<T>);
        found[v] = feature > greatest[v] ? cell : found[v];
        greatest[v] = feature > greatest[v] ? feature : greatest[v];
      }
    }
  }
  for (int v = 0; v < count; ++v) {
    store(out + channel + v * lanes<T>, greatest[v]);
    store(cells + channel + v * lanes<T>, found[v]);
  }
}

template <typename T>
DETKIT_INLINE void pool_bin_plainly(
    const Plane<const T>& plane, CellRange rows, CellRange columns, int64_t map_width, int64_t channel, T* out,
    CellOf<T>* cells) {
  T greatest = least_feature<T>;
  CellOf<T> found = -1;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    for (int64_t column = columns.begin; column < columns.end; ++column) {
      T feature = plane.cell(row, column)[channel];
      if (!(feature > greatest)) continue;
      greatest = feature;
      found = static_cast<CellOf<T>>(row * map_width + column);
    }
  }
  out[channel] = greatest;
  cells[channel] = found;
}

// All bins of a region, of one block of channels.
template <typename T>
DETKIT_EVERY_MACHINE void pool(
    const Plane<const T>& plane, const PoolRegions& regions, int64_t k, int64_t map_width, int64_t channels, T* out,
    CellOf<T>* cells) {
  for (int64_t y = 0; y < regions.height; ++y) {
    for (int64_t x = 0; x < regions.width; ++x) {
      CellRange rows = regions.rows(k)[y], columns = regions.columns(k)[x];
      if (rows.is_empty() || columns.is_empty()) {
        std::fill(out, out + channels, T(0));
        std::fill(cells, cells + channels, CellOf<T>(-1));
      } else {
        int64_t channel = 0;
        for (; channel + 4 * lanes<T> <= channels; channel += 4 * lanes<T>) {
          pool_bin<4>(plane, rows, columns, map_width, channel, out, cells);
        }
        for (; channel + lanes<T> <= channels; channel += lanes<T>) {
          pool_bin<1>(plane, rows, columns, map_width, channel, out, cells);
        }
        for (; channel < channels; ++channel) {
          pool_bin_plainly(plane, rows, columns, map_width, channel, out, cells);
        }
      }
      out += channels;
      cells += channels;
    }
  }
}

Tensor new_cells(const Tensor& like, bool channels_last) {
  return torch::stable::empty(
      {like.size(0), like.size(1), like.size(2), like.size(3)}, ScalarType::Int, std::nullopt, like.device(),
      std::nullopt, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

template <typename From, typename T>
std::tuple<Tensor, Tensor> pool_all(
    const Tensor& features, const Tensor& rois, double spatial_scale, int64_t height, int64_t width,
    bool channels_last) {
  int64_t channels = features.size(1), bins = height * width;
  MapSize size{features.size(2), features.size(3)};
  PoolRegions regions =
      collect_regions<T>(rois, static_cast<T>(spatial_scale), height, width, size, features.size(0));
  int64_t region_count = rois.size(0);
  Tensor result = new_result(features, {region_count, channels, height, width}, channels_last);
  Tensor result_cells = new_cells(result, channels_last);
  if (result.numel() == 0) return {result, result_cells};
  From* out = result.mutable_data_ptr<From>();
  int32_t* out_cells = result_cells.mutable_data_ptr<int32_t>();
  prefer_large_pages(out_cells, result_cells.numel() * sizeof(int32_t));

  Blocks blocks = split_channels<T>(channels, region_count);
  LevelBlocks<From, T> maps(features, blocks, channels_last);
  int64_t stagger = region_count / blocks.count();
  torch::stable::parallel_for(0, blocks.count() * region_count, 16, [&](int64_t first, int64_t last) {
    std::vector<T> crop(bins * blocks.width);
    std::vector<CellOf<T>> cells(bins * blocks.width);
    for (int64_t i = first; i < last; ++i) {
      // Each block begins with another region, so that threads are not the first to write to the same pages.
      int64_t block = i / region_count, k = (i + block * stagger) % region_count;
      int64_t begin = blocks.begin(block), count = blocks.size(block);
      pool(maps.plane(regions.images[k], block), regions, k, size.width, count, crop.data(), cells.data());
      int64_t offset = k * bins * channels;
      write_block(crop.data(), channels_last, bins, channels, begin, count, out + offset);
      write_block(cells.data(), channels_last, bins, channels, begin, count, out_cells + offset);
    }
  });
  return {result, result_cells};
}

// The crops' gradients and the cells that they go to.
template <typename From>
struct PooledGradient {
  const From* data;
  const int32_t* cells;
  int64_t channels, bins;
};

// The gradient of some channels of one map: a plane for each channel, or the channels of a cell side by side, as in the
// crops. What is from no cell goes to a place of its own, before the first cell.
template <typename T>
class GradientBlock {
 public:
  GradientBlock(int64_t cells, int64_t count, bool channels_last)
      : cells_(cells), count_(count), channels_last_(channels_last), sums_((cells + 1) * count) {}

  template <typename From>
  void add(const PooledGradient<From>& gradient, int64_t k, int64_t begin) {
    for (int64_t outer = 0; outer < (channels_last_ ? gradient.bins : count_); ++outer) {
      if (channels_last_) {
        int64_t offset = (k * gradient.bins + outer) * gradient.channels + begin;
        const int32_t* cells = gradient.cells + offset;
        for (int64_t c = 0; c < count_; ++c) {
          sums_[(cells[c] + 1) * count_ + c] += static_cast<T>(gradient.data[offset + c]);
        }
      } else {
        int64_t offset = (k * gradient.channels + begin + outer) * gradient.bins;
        const int32_t* cells = gradient.cells + offset;
        T* plane = sums_.data() + outer * (cells_ + 1) + 1;
        for (int64_t bin = 0; bin < gradient.bins; ++bin) {
          plane[cells[bin]] += static_cast<T>(gradient.data[offset + bin]);
        }
      }
    }
  }

  // Writes the block into a map of `channels` channels, at channel `begin`.
  template <typename From>
  void write(From* map, int64_t channels, int64_t begin) const {
    if (channels_last_) {
      convert(sums_.data() + count_, cells_, count_, count_, map + begin, channels);
    } else {
      convert(sums_.data() + 1, count_, cells_, cells_ + 1, map + begin * cells_, cells_);
    }
  }

 private:
  int64_t cells_, count_;
  bool channels_last_;
  std::vector<T> sums_;
};

template <typename From, typename T>
Tensor spread(
    const Tensor& gradient, const Tensor& cells, const Tensor& rois, int64_t batch, MapSize size, bool channels_last) {
  int64_t channels = gradient.size(1);
  PooledGradient<From> pooled{
      gradient.const_data_ptr<From>(), cells.const_data_ptr<int32_t>(), channels, gradient.size(2) * gradient.size(3)};
  RegionsByMap groups = group_by_map(images_of<T>(rois, batch), batch);
  Tensor result = new_result(gradient, {batch, channels, size.height, size.width}, channels_last);
  From* out = result.mutable_data_ptr<From>();

  // A task is a block of channels of one image, so that no two write to one place, and sums have a fixed order. Crops
  // are best read in long runs, so there are no more tasks than threads need.
  int64_t threads = torch::stable::get_num_threads();
  Blocks blocks{channels, std::max<int64_t>(1, (channels + threads - 1) / threads)};
  torch::stable::parallel_for(0, blocks.count() * batch, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      int64_t block = i / batch, image = i % batch, begin = blocks.begin(block);
      GradientBlock<T> sums(size.cells(), blocks.size(block), channels_last);
      for (int64_t member = groups.begins[image]; member < groups.begins[image + 1]; ++member) {
        sums.add(pooled, groups.members[member], begin);
      }
      sums.write(out + image * channels * size.cells(), channels, begin);
    }
  });
  return result;
}

std::tuple<Tensor, Tensor> roi_pool(
    Tensor features, Tensor rois, double spatial_scale, int64_t height, int64_t width, bool channels_last) {
  rois = as_contiguous(rois);
  STD_TORCH_CHECK(features.size(2) * features.size(3) <= INT32_MAX, "roi_pool: a map of more than 2^31 cells");
  return with_feature_type(features.scalar_type(), [&]<typename From, typename T>() {
    return pool_all<From, T>(features, rois, spatial_scale, height, width, channels_last);
  });
}

Tensor roi_pool_backward(
    Tensor gradient, Tensor cells, Tensor rois, int64_t batch, int64_t map_height, int64_t map_width,
    bool channels_last) {
  rois = as_contiguous(rois);
  MapSize size{map_height, map_width};
  return with_feature_type(gradient.scalar_type(), [&]<typename From, typename T>() {
    return spread<From, T>(gradient, cells, rois, batch, size, channels_last);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("roi_pool", TORCH_BOX(&roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace detkit
