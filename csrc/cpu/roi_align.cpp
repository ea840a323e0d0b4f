// RoIAlign on the CPU. The samples of a bin are a short list of rows and columns of the map with their weights, the
// same for every channel. So maps are rearranged to have the channels of a cell side by side, in blocks that fit the
// vector registers, and each block is worked through by itself: its part of the map stays in the cache.
#include "../roi_align.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <vector>

#include "../contiguous.h"
#include "../feature_type.h"
#include "channel_blocks.h"
#include "region_taps.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::stable::Tensor;

// The average over one bin, of `count` vectors of channels.
template <int count, typename T>
DETKIT_INLINE void gather_bin(
    const Plane<const T>& plane, const Region<T>& region, int64_t y, int64_t x, int64_t channel, T* out) {
  Vector<T> sum[count] = {};
  for (int64_t i = region.rows.begins[y]; i < region.rows.begins[y + 1]; ++i) {
    for (int64_t j = region.columns.begins[x]; j < region.columns.begins[x + 1]; ++j) {
      const Tap<T>&row = region.rows.taps[i], &column = region.columns.taps[j];
      const T* cell = plane.cell(row.at, column.at) + channel;
      T weight = row.weight * column.weight;
      for (int v = 0; v < count; ++v) sum[v] += weight * load<Vector<T>>(cell + v * lanes<T>);
    }
  }
  for (int v = 0; v < count; ++v) store(out + channel + v * lanes<T>, sum[v]);
}

// All bins of a region, of `channels` channels; `out_stride` is the distance from bin to bin.
template <typename T>
DETKIT_EVERY_MACHINE void gather(
    const Plane<const T>& plane, const Regions<T>& regions, int64_t k, int64_t channels, T* out, int64_t out_stride) {
  const Region<T>& region = regions.list[k];
  for (int64_t y = 0; y < regions.height; ++y) {
    for (int64_t x = 0; x < regions.width; ++x, out += out_stride) {
      int64_t channel = 0;
      for (; channel + 4 * lanes<T> <= channels; channel += 4 * lanes<T>) {
        gather_bin<4>(plane, region, y, x, channel, out);
      }
      for (; channel + lanes<T> <= channels; channel += lanes<T>) gather_bin<1>(plane, region, y, x, channel, out);
      for (; channel < channels; ++channel) {
        T sum = 0;
        for (int64_t i = region.rows.begins[y]; i < region.rows.begins[y + 1]; ++i) {
          for (int64_t j = region.columns.begins[x]; j < region.columns.begins[x + 1]; ++j) {
            const Tap<T>&row = region.rows.taps[i], &column = region.columns.taps[j];
            sum += row.weight * column.weight * plane.cell(row.at, column.at)[channel];
          }
        }
        out[channel] = sum;
      }
    }
  }
}

// The reverse: the gradients of a region's bins added to the cells that they were taken from.
template <typename T>
DETKIT_EVERY_MACHINE void scatter(
    const Plane<T>& plane, const Regions<T>& regions, int64_t k, int64_t channels, const T* gradient,
    int64_t gradient_stride) {
  const Region<T>& region = regions.list[k];
  for (int64_t y = 0; y < regions.height; ++y) {
    for (int64_t x = 0; x < regions.width; ++x, gradient += gradient_stride) {
      for (int64_t i = region.rows.begins[y]; i < region.rows.begins[y + 1]; ++i) {
        for (int64_t j = region.columns.begins[x]; j < region.columns.begins[x + 1]; ++j) {
          const Tap<T>&row = region.rows.taps[i], &column = region.columns.taps[j];
          T* cell = plane.cell(row.at, column.at);
          T weight = row.weight * column.weight;
          int64_t channel = 0;
          for (; channel + lanes<T> <= channels; channel += lanes<T>) {
            Vector<T> sum = load<Vector<T>>(cell + channel) + weight * load<Vector<T>>(gradient + channel);
            store(cell + channel, sum);
          }
          for (; channel < channels; ++channel) cell[channel] += weight * gradient[channel];
        }
      }
    }
  }
}

template <typename T>
RegionsByMap group_regions(const Regions<T>& regions, int64_t levels, int64_t batch) {
  std::vector<int64_t> maps;
  maps.reserve(regions.list.size());
  for (const Region<T>& region : regions.list) maps.push_back(region.level * batch + region.image);
  return group_by_map(maps, levels * batch);
}

template <typename From, typename T>
Tensor crop(const std::vector<Tensor>& features, const Tensor& rois, const Cropping& cropping) {
  int64_t region_count = rois.size(0), batch = features[0].size(0), channels = features[0].size(1);
  int64_t bins = cropping.bins();
  std::vector<MapSize> sizes;
  for (const Tensor& maps : features) sizes.push_back({maps.size(2), maps.size(3)});
  Regions<T> regions = collect_regions<T>(rois, cropping, sizes, batch);
  RegionsByMap groups = group_regions(regions, features.size(), batch);
  Tensor result =
      new_result(features[0], {region_count, channels, cropping.height, cropping.width}, cropping.channels_last);
  if (result.numel() == 0) return result;
  From* out = result.mutable_data_ptr<From>();

  Blocks blocks = split_channels<T>(channels, region_count);
  std::vector<LevelBlocks<From, T>> maps;
  for (const Tensor& level : features) maps.emplace_back(level, blocks, cropping.channels_last);

  int64_t stagger = region_count / blocks.count();
  torch::stable::parallel_for(0, blocks.count() * region_count, 16, [&](int64_t first, int64_t last) {
    std::vector<T> crop_of_block(bins * blocks.width);
    for (int64_t i = first; i < last; ++i) {
      // Each block begins with another region, so that threads are not the first to write to the same pages.
      int64_t block = i / region_count, k = groups.members[(i + block * stagger) % region_count];
      const Region<T>& region = regions.list[k];
      Plane<const T> plane = maps[region.level].plane(region.image, block);
      int64_t size = blocks.size(block);
      gather(plane, regions, k, size, crop_of_block.data(), size);
      write_block(
          crop_of_block.data(), cropping.channels_last, bins, channels, blocks.begin(block), size,
          out + k * bins * channels);
    }
  });
  return result;
}

// The gradient of one block of channels of one map.
template <typename From, typename T>
void spread_over_map(
    const From* gradient, const Regions<T>& regions, const int64_t* member, const int64_t* last_member,
    const Cropping& cropping, const Blocks& blocks, int64_t block, const Plane<T>& plane, std::vector<T>& scratch) {
  int64_t bins = cropping.bins(), size = blocks.size(block);
  scratch.resize(bins * size);
  for (; member != last_member; ++member) {
    read_block(
        gradient + *member * bins * blocks.channels, cropping.channels_last, bins, blocks.channels,
        blocks.begin(block), size, scratch.data());
    scatter(plane, regions, *member, size, scratch.data(), size);
  }
}

template <typename From, typename T>
std::vector<Tensor> spread(
    const Tensor& gradient, const Tensor& rois, const Cropping& cropping, int64_t batch,
    const std::vector<MapSize>& sizes) {
  int64_t channels = gradient.size(1), level_count = sizes.size(), map_count = level_count * batch;
  Regions<T> regions = collect_regions<T>(rois, cropping, sizes, batch);
  RegionsByMap groups = group_regions(regions, level_count, batch);
  const From* gradient_data = gradient.const_data_ptr<From>();

  std::vector<Tensor> results;
  std::vector<From*> result_data;
  for (MapSize size : sizes) {
    results.push_back(new_result(gradient, {batch, channels, size.height, size.width}, cropping.channels_last));
    result_data.push_back(results.back().mutable_data_ptr<From>());
  }

  // A task is a block of channels of one map, so that no two write to one place, and sums have a fixed order.
  Blocks blocks = split_channels<T>(channels, map_count);
  torch::stable::parallel_for(0, blocks.count() * map_count, 1, [&](int64_t first, int64_t last) {
    std::vector<T> sums, scratch;
    for (int64_t i = first; i < last; ++i) {
      int64_t block = i / map_count, map = i % map_count, level = map / batch, image = map % batch;
      int64_t cells = sizes[level].cells(), size = blocks.size(block);
      sums.assign(cells * size, T(0));
      spread_over_map(
          gradient_data, regions, groups.members.data() + groups.begins[map],
          groups.members.data() + groups.begins[map + 1],
          cropping, blocks, block, Plane<T>{sums.data(), sizes[level].width * size, size}, scratch);
      write_block(
          sums.data(), cropping.channels_last, cells, channels, blocks.begin(block), size,
          result_data[level] + image * cells * channels);
    }
  });
  return results;
}

Tensor roi_align(
    std::vector<Tensor> features, Tensor rois, std::vector<double> spatial_scales, double canonical_size,
    int64_t canonical_level, int64_t height, int64_t width, int64_t sampling_ratio, bool aligned, bool channels_last) {
  rois = as_contiguous(rois);
  LevelRule levels(spatial_scales, canonical_size, canonical_level);
  Cropping cropping{spatial_scales, levels, height, width, sampling_ratio, aligned, channels_last};
  return with_feature_type(features[0].scalar_type(), [&]<typename From, typename T>() {
    return crop<From, T>(features, rois, cropping);
  });
}

std::vector<Tensor> roi_align_backward(
    Tensor gradient, Tensor rois, std::vector<double> spatial_scales, double canonical_size, int64_t canonical_level,
    int64_t batch, std::vector<int64_t> heights, std::vector<int64_t> widths, int64_t sampling_ratio, bool aligned,
    bool channels_last) {
  rois = as_contiguous(rois);
  LevelRule levels(spatial_scales, canonical_size, canonical_level);
  Cropping cropping{spatial_scales, levels, gradient.size(2), gradient.size(3), sampling_ratio, aligned, channels_last};
  std::vector<MapSize> sizes;
  for (size_t level = 0; level < heights.size(); ++level) sizes.push_back({heights[level], widths[level]});
  return with_feature_type(gradient.scalar_type(), [&]<typename From, typename T>() {
    return spread<From, T>(gradient, rois, cropping, batch, sizes);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("roi_align", TORCH_BOX(&roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&roi_align_backward));
}

}  // namespace detkit
