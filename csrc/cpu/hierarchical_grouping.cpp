// Merging the regions of a segmentation, the two most alike first, until one is left (Uijlings 2013, algorithm 1).
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <queue>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "region_adjacency.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Which similarities are added up; the values are those of the Python side.
enum : int64_t { color_bit = 1, texture_bit = 2, size_bit = 4, fill_bit = 8 };

struct Region {
  double pixels = 0;
  int32_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;  // x2 and y2 are of the last pixel
  bool alive = true;
  std::vector<double> color, texture;
  std::vector<int32_t> neighbors;
};

struct Candidate {
  double similarity;
  int32_t a, b;

  // The most alike first; of equals the one of the lowest labels, so that the result is the same on every machine.
  bool operator<(const Candidate& other) const {
    return std::tie(similarity, other.a, other.b) < std::tie(other.similarity, a, b);
  }
};

double intersection(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::min(a[i], b[i]);
  return sum;
}

// Equations 5: the histogram of two regions together.
std::vector<double> mixed(const std::vector<double>& a, double a_size, const std::vector<double>& b, double b_size) {
  std::vector<double> result(a.size());
  double a_share = a_size / (a_size + b_size), b_share = b_size / (a_size + b_size);
  for (size_t i = 0; i < a.size(); ++i) result[i] = a_share * a[i] + b_share * b[i];
  return result;
}

class Grouping {
 public:
  Grouping(std::vector<Region> regions, double image_pixels, int64_t similarities)
      : regions_(std::move(regions)), image_pixels_(image_pixels), similarities_(similarities) {}

  // Region i of the result beyond the given ones is made by the i-th merge.
  std::vector<Region> run() {
    std::vector<Candidate> first;
    for (size_t a = 0; a < regions_.size(); ++a) {
      for (int32_t b : regions_[a].neighbors) {
        if (static_cast<int32_t>(a) < b) first.push_back(candidate(static_cast<int32_t>(a), b));
      }
    }
    queue_ = std::priority_queue<Candidate>({}, std::move(first));
    regions_.reserve(2 * regions_.size());
    while (!queue_.empty()) {
      Candidate best = queue_.top();
      queue_.pop();
      if (regions_[best.a].alive && regions_[best.b].alive) merge(best.a, best.b);
    }
    return std::move(regions_);
  }

 private:
  Candidate candidate(int32_t a, int32_t b) const { return {similarity(regions_[a], regions_[b]), a, b}; }

  // Equations 2, 4, 6 and 7.
  double similarity(const Region& a, const Region& b) const {
    double sum = 0;
    if (similarities_ & color_bit) sum += intersection(a.color, b.color);
    if (similarities_ & texture_bit) sum += intersection(a.texture, b.texture);
    if (similarities_ & size_bit) sum += 1 - (a.pixels + b.pixels) / image_pixels_;
    if (similarities_ & fill_bit) {
      double width = std::max(a.x2, b.x2) - std::min(a.x1, b.x1) + 1;
      double height = std::max(a.y2, b.y2) - std::min(a.y1, b.y1) + 1;
      sum += 1 - (width * height - a.pixels - b.pixels) / image_pixels_;
    }
    return sum;
  }

  void merge(int32_t a, int32_t b) {
    Region &left = regions_[a], &right = regions_[b], both;
    both.pixels = left.pixels + right.pixels;
    both.x1 = std::min(left.x1, right.x1);
    both.y1 = std::min(left.y1, right.y1);
    both.x2 = std::max(left.x2, right.x2);
    both.y2 = std::max(left.y2, right.y2);
    both.color = mixed(left.color, left.pixels, right.color, right.pixels);
    both.texture = mixed(left.texture, left.pixels, right.texture, right.pixels);
    left.alive = right.alive = false;
    std::merge(
        left.neighbors.begin(), left.neighbors.end(), right.neighbors.begin(), right.neighbors.end(),
        std::back_inserter(both.neighbors));
    both.neighbors.erase(std::unique(both.neighbors.begin(), both.neighbors.end()), both.neighbors.end());
    std::erase_if(both.neighbors, [&](int32_t neighbor) { return !regions_[neighbor].alive; });
    for (Region* gone : {&left, &right}) gone->neighbors = {};
    int32_t made = static_cast<int32_t>(regions_.size());
    regions_.push_back(std::move(both));
    for (int32_t neighbor : regions_[made].neighbors) {
      regions_[neighbor].neighbors.push_back(made);  // the greatest label yet: they stay in order
      queue_.push(candidate(neighbor, made));
    }
  }

  std::vector<Region> regions_;
  double image_pixels_;
  int64_t similarities_;
  std::priority_queue<Candidate> queue_;
};

// A histogram per region of each of F features of the pixels, one after another, that sums to 1.
std::vector<std::vector<double>> histograms(
    const int32_t* labels, const uint8_t* bins, int64_t pixels, int64_t features, int64_t bin_count,
    const std::vector<Region>& regions) {
  std::vector<std::vector<double>> result(regions.size(), std::vector<double>(features * bin_count));
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    double* histogram = result[labels[pixel]].data();
    for (int64_t feature = 0; feature < features; ++feature) {
      histogram[feature * bin_count + bins[pixel * features + feature]] += 1;
    }
  }
  for (size_t i = 0; i < regions.size(); ++i) {
    double total = regions[i].pixels * static_cast<double>(features);
    for (double& value : result[i]) value /= total;
  }
  return result;
}

void check_bins(const char* name, const Tensor& bins, const Tensor& labels, int64_t bin_count) {
  STD_TORCH_CHECK(
      bins.dim() == 3 && bins.size(0) == labels.size(0) && bins.size(1) == labels.size(1), name,
      " must be (H, W, F) of the size of the labels");
  const uint8_t* data = bins.const_data_ptr<uint8_t>();
  STD_TORCH_CHECK(
      std::all_of(data, data + bins.numel(), [&](uint8_t bin) { return bin < bin_count; }), name,
      " must be less than the number of bins, ", bin_count);
}

std::vector<Region> initial_regions(const int32_t* labels, int64_t height, int64_t width) {
  int32_t count = *std::max_element(labels, labels + height * width) + 1;
  Region nowhere;
  nowhere.x1 = static_cast<int32_t>(width);
  nowhere.y1 = static_cast<int32_t>(height);
  std::vector<Region> regions(count, nowhere);
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < width; ++x) {
      Region& region = regions[labels[y * width + x]];
      region.pixels += 1;
      region.x1 = std::min(region.x1, x);
      region.y1 = std::min(region.y1, y);
      region.x2 = std::max(region.x2, x);
      region.y2 = std::max(region.y2, y);
    }
  }
  for (auto [a, b] : adjacent_regions(labels, height, width)) {
    regions[a].neighbors.push_back(b);
    regions[b].neighbors.push_back(a);
  }
  for (Region& region : regions) std::sort(region.neighbors.begin(), region.neighbors.end());
  return regions;
}

// labels (H, W) int32 in 0..N-1, each present; color (H, W, F1) and texture (H, W, F2) uint8 bins; returns the boxes
// x1 y1 x2 y2 (S, N + merges, 4) float32 of the regions in the order in which they came to be, for each of S sums of
// similarities.
Tensor hierarchical_grouping(
    Tensor labels, Tensor color, Tensor texture, int64_t color_bins, int64_t texture_bins,
    std::vector<int64_t> similarities) {
  labels = as_contiguous(labels);
  color = as_contiguous(color);
  texture = as_contiguous(texture);
  STD_TORCH_CHECK(labels.dim() == 2 && labels.numel() > 0, "labels must be (H, W)");
  check_bins("color", color, labels, color_bins);
  check_bins("texture", texture, labels, texture_bins);
  int64_t height = labels.size(0), width = labels.size(1), pixels = height * width;
  const int32_t* label_data = labels.const_data_ptr<int32_t>();
  STD_TORCH_CHECK(
      std::all_of(label_data, label_data + pixels, [&](int32_t label) { return 0 <= label && label < pixels; }),
      "labels must lie in 0..", pixels - 1);
  std::vector<Region> regions = initial_regions(label_data, height, width);
  STD_TORCH_CHECK(
      std::all_of(regions.begin(), regions.end(), [](const Region& region) { return region.pixels > 0; }),
      "labels must be numbered without gaps");
  auto colors = histograms(
      label_data, color.const_data_ptr<uint8_t>(), pixels, color.size(2), color_bins, regions);
  auto textures = histograms(
      label_data, texture.const_data_ptr<uint8_t>(), pixels, texture.size(2), texture_bins, regions);
  for (size_t i = 0; i < regions.size(); ++i) {
    regions[i].color = std::move(colors[i]);
    regions[i].texture = std::move(textures[i]);
  }
  // All regions of an image hang together, so that N - 1 merges leave one.
  int64_t total = 2 * static_cast<int64_t>(regions.size()) - 1;
  Tensor result = torch::stable::new_empty(
      labels, {static_cast<int64_t>(similarities.size()), total, 4}, ScalarType::Float);
  float* box = result.mutable_data_ptr<float>();
  for (int64_t sum : similarities) {
    for (const Region& region : Grouping(regions, static_cast<double>(pixels), sum).run()) {
      for (int32_t value : {region.x1, region.y1, region.x2 + 1, region.y2 + 1}) *box++ = static_cast<float>(value);
    }
  }
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("hierarchical_grouping", TORCH_BOX(&hierarchical_grouping));
}

}  // namespace detkit
