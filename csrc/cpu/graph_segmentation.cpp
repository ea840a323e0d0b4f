// Segmentation of an image into regions whose inner differences are smaller than those between them (Felzenszwalb &
// Huttenlocher 2004, section 4).
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "../contiguous.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

struct Edge {
  float weight;
  int32_t a, b;
};

// Disjoint sets of pixels, each with its size and the greatest edge that holds it together.
class Components {
 public:
  explicit Components(int64_t count) : parent_(count), size_(count, 1), inner_(count, 0.0f) {
    std::iota(parent_.begin(), parent_.end(), 0);
  }

  int32_t find(int32_t pixel) {
    while (parent_[pixel] != pixel) pixel = parent_[pixel] = parent_[parent_[pixel]];
    return pixel;
  }

  // Two roots; `weight` is the edge between them.
  void unite(int32_t a, int32_t b, float weight) {
    if (size_[a] < size_[b]) std::swap(a, b);
    parent_[b] = a;
    size_[a] += size_[b];
    inner_[a] = weight;
  }

  int32_t size(int32_t root) const { return size_[root]; }
  float inner(int32_t root) const { return inner_[root]; }

 private:
  std::vector<int32_t> parent_, size_;
  std::vector<float> inner_;
};

// The edges between all pixels that touch, diagonal ones too, weighted by the distance of their colors.
std::vector<Edge> edges_between(const float* image, int64_t height, int64_t width, int64_t channels) {
  std::vector<Edge> edges;
  edges.reserve(4 * height * width);
  auto add = [&](int64_t a, int64_t b) {
    float sum = 0;
    for (int64_t channel = 0; channel < channels; ++channel) {
      float difference = image[a * channels + channel] - image[b * channels + channel];
      sum += difference * difference;
    }
    edges.push_back({std::sqrt(sum), static_cast<int32_t>(a), static_cast<int32_t>(b)});
  };
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      int64_t pixel = y * width + x;
      if (x + 1 < width) add(pixel, pixel + 1);
      if (y + 1 == height) continue;
      add(pixel, pixel + width);
      if (x > 0) add(pixel, pixel + width - 1);
      if (x + 1 < width) add(pixel, pixel + width + 1);
    }
  }
  return edges;
}

// image (H, W, C) float32; returns labels (H, W) int32, numbered from 0 in the order of their first pixel.
Tensor graph_segmentation(Tensor image, double scale, int64_t min_size) {
  STD_TORCH_CHECK(image.dim() == 3, "image must be (H, W, C)");
  image = as_contiguous(image);
  int64_t height = image.size(0), width = image.size(1), pixels = height * width;
  STD_TORCH_CHECK(pixels < std::numeric_limits<int32_t>::max(), "image is too large");
  std::vector<Edge> edges = edges_between(image.const_data_ptr<float>(), height, width, image.size(2));
  std::stable_sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.weight < b.weight; });
  Components components(pixels);
  float k = static_cast<float>(scale);
  for (const Edge& edge : edges) {
    int32_t a = components.find(edge.a), b = components.find(edge.b);
    if (a == b) continue;
    // Equations 4 and 5: both are held together as weakly as this edge, with k / |C| in favor of small ones.
    float tolerance = std::min(
        components.inner(a) + k / static_cast<float>(components.size(a)),
        components.inner(b) + k / static_cast<float>(components.size(b)));
    if (edge.weight <= tolerance) components.unite(a, b, edge.weight);
  }
  for (const Edge& edge : edges) {
    int32_t a = components.find(edge.a), b = components.find(edge.b);
    if (a != b && std::min(components.size(a), components.size(b)) < min_size) components.unite(a, b, edge.weight);
  }
  Tensor result = torch::stable::new_empty(image, {height, width}, ScalarType::Int);
  int32_t* labels = result.mutable_data_ptr<int32_t>();
  std::vector<int32_t> number(pixels, -1);
  int32_t count = 0;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    int32_t root = components.find(static_cast<int32_t>(pixel));
    if (number[root] < 0) number[root] = count++;
    labels[pixel] = number[root];
  }
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("graph_segmentation", TORCH_BOX(&graph_segmentation));
}

}  // namespace detkit
