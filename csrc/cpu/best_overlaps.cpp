// The best object of each candidate on the CPU. A thread takes a chunk of candidates, coordinate by coordinate, and
// compares it with one object after the other; an object that touches none of the chunk is left out.
#include "../best_overlaps.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "../contiguous.h"
#include "vector.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t chunk_size = 512;
constexpr int64_t chunks_per_task = 4;  // so many are worth a thread

// Candidates that lie one after the other, and the box around them.
struct Chunk {
  float x1[chunk_size], y1[chunk_size], x2[chunk_size], y2[chunk_size], areas[chunk_size];
  Box<float> around;
  int64_t first, count;

  Chunk(const Box<float>* candidates, int64_t first, int64_t count) : first(first), count(count) {
    constexpr float far = std::numeric_limits<float>::infinity();
    around = {far, far, -far, -far};
    for (int64_t i = 0; i < count; ++i) {
      Box<float> box = candidates[first + i];
      x1[i] = box.x1;
      y1[i] = box.y1;
      x2[i] = box.x2;
      y2[i] = box.y2;
      areas[i] = area(box);
      around = {
          smaller(around.x1, box.x1), smaller(around.y1, box.y1), larger(around.x2, box.x2),
          larger(around.y2, box.y2)};
    }
  }

  bool touches(const Box<float>& box) const {
    return box.x1 < around.x2 && box.y1 < around.y2 && around.x1 < box.x2 && around.y1 < box.y2;
  }

  MeasuredBox<float> operator[](int64_t i) const { return {{x1[i], y1[i], x2[i], y2[i]}, areas[i], 0}; }
};

// The best object so far of each candidate of a chunk.
struct Best {
  float overlaps[chunk_size];
  int32_t rows[chunk_size];

  void reset(int64_t begin, int64_t end, int64_t first_row) {
    std::fill(overlaps + begin, overlaps + end, 0.0f);
    std::fill(rows + begin, rows + end, static_cast<int32_t>(first_row));
  }
};

// Compares the candidates begin..end of a chunk with an object. Returns the greatest overlap.
template <Measure measure>
DETKIT_EVERY_MACHINE float compare(
    const Chunk& chunk, int64_t begin, int64_t end, const MeasuredBox<float>& object, int32_t row, Best& best) {
  int32_t most = 0;  // numbers that are not negative are ordered as their bits
  for (int64_t i = begin; i < end; ++i) {
    float overlap = overlap_of<measure>(chunk[i], object);
    bool is_better = overlap > best.overlaps[i];
    best.overlaps[i] = is_better ? overlap : best.overlaps[i];
    best.rows[i] = is_better ? row : best.rows[i];
    most = std::max(most, std::bit_cast<int32_t>(overlap));
  }
  return std::bit_cast<float>(most);
}

// Tells which candidates of a chunk overlap an object so much. Returns the first of them, or -1.
template <Measure measure>
DETKIT_EVERY_MACHINE int64_t
mark(const Chunk& chunk, int64_t begin, int64_t end, const MeasuredBox<float>& object, float overlap, bool* is_best) {
  int32_t equal[chunk_size];
  for (int64_t i = begin; i < end; ++i) equal[i] = overlap_of<measure>(chunk[i], object) == overlap;
  int64_t first = -1;
  for (int64_t i = begin; i < end; ++i) {
    if (!equal[i]) continue;
    is_best[i] = true;
    if (first < 0) first = chunk.first + i;
  }
  return first;
}

struct Problem {
  const Box<float>* candidates;
  const int64_t* images;  // null where all images have the same candidates
  const Box<float>* boxes;
  std::vector<int64_t> bounds;
  int64_t candidate_count;

  int64_t image_count() const { return bounds.size() - 1; }
  int64_t chunk_count() const { return (candidate_count + chunk_size - 1) / chunk_size; }
  int64_t size_of(int64_t chunk) const { return std::min(chunk_size, candidate_count - chunk * chunk_size); }

  // Calls `function(image, begin, end)` for the candidates begin..end of a chunk that are of one image.
  template <typename Function>
  void each_image(int64_t chunk, const Function& function) const {
    int64_t count = size_of(chunk);
    if (!images) {
      for (int64_t image = 0; image < image_count(); ++image) function(image, int64_t(0), count);
      return;
    }
    const int64_t* own = images + chunk * chunk_size;
    for (int64_t begin = 0, end = 0; begin < count; begin = end) {
      while (end < count && own[end] == own[begin]) ++end;
      function(own[begin], begin, end);
    }
  }

  bool has_image(int64_t image) const { return 0 <= image && image < image_count(); }

  // Where the results of a chunk begin.
  int64_t place_of(int64_t chunk, int64_t image) const {
    return (images ? 0 : image * candidate_count) + chunk * chunk_size;
  }
};

struct Results {
  float* overlaps;
  int64_t* rows;
  bool* is_best;
  float* object_overlaps;
  int64_t* object_candidates;
};

// The best object of each candidate, and of each object the greatest overlap in each chunk, (objects, chunks).
template <Measure measure>
void compare_all(const Problem& problem, const Results& results, std::vector<float>& most) {
  int64_t chunk_count = problem.chunk_count();
  torch::stable::parallel_for(0, chunk_count, chunks_per_task, [&](int64_t first, int64_t last) {
    Best best;
    for (int64_t c = first; c < last; ++c) {
      Chunk chunk(problem.candidates, c * chunk_size, problem.size_of(c));
      problem.each_image(c, [&](int64_t image, int64_t begin, int64_t end) {
        int64_t row = 0, last_row = 0;
        if (problem.has_image(image)) row = problem.bounds[image], last_row = problem.bounds[image + 1];
        best.reset(begin, end, row < last_row ? row : -1);
        for (; row < last_row; ++row) {
          if (!chunk.touches(problem.boxes[row])) continue;
          MeasuredBox<float> object = measured<OverlapMode::iou>(problem.boxes[row]);
          float overlap = compare<measure>(chunk, begin, end, object, static_cast<int32_t>(row), best);
          if (!most.empty()) most[row * chunk_count + c] = larger(most[row * chunk_count + c], overlap);
        }
        int64_t place = problem.place_of(c, image);
        std::copy(best.overlaps + begin, best.overlaps + end, results.overlaps + place + begin);
        std::copy(best.rows + begin, best.rows + end, results.rows + place + begin);
      });
    }
  });
}

// The best candidates of each object. Each is looked for again in the chunks that are known to have one.
template <Measure measure>
void find_best_of_objects(const Problem& problem, const Results& results, const std::vector<float>& most) {
  int64_t chunk_count = problem.chunk_count();
  torch::stable::parallel_for(0, problem.image_count(), 1, [&](int64_t first, int64_t last) {
    for (int64_t row = problem.bounds[first]; row < problem.bounds[last]; ++row) {
      int64_t image =
          std::upper_bound(problem.bounds.begin(), problem.bounds.end(), row) - problem.bounds.begin() - 1;
      const float* own = most.data() + row * chunk_count;
      float overlap = chunk_count ? *std::max_element(own, own + chunk_count) : 0;
      results.object_overlaps[row] = overlap;
      results.object_candidates[row] = -1;
      if (!(overlap > 0)) continue;
      MeasuredBox<float> object = measured<OverlapMode::iou>(problem.boxes[row]);
      for (int64_t c = 0; c < chunk_count; ++c) {
        if (own[c] != overlap) continue;
        Chunk chunk(problem.candidates, c * chunk_size, problem.size_of(c));
        problem.each_image(c, [&](int64_t other, int64_t begin, int64_t end) {
          if (other != image) return;
          bool* is_best = results.is_best + problem.place_of(c, image);
          int64_t candidate = mark<measure>(chunk, begin, end, object, overlap, is_best);
          if (results.object_candidates[row] < 0) results.object_candidates[row] = candidate;
        });
      }
    }
  });
}

const Box<float>* boxes_of(const Tensor& tensor) {
  return reinterpret_cast<const Box<float>*>(tensor.const_data_ptr<float>());
}

// Where the objects of each image begin; whatever the tensor holds, these are ascending rows.
std::vector<int64_t> bounds_of(const Tensor& tensor, int64_t object_count) {
  Tensor contiguous = as_contiguous(tensor);
  const int64_t* data = contiguous.const_data_ptr<int64_t>();
  std::vector<int64_t> bounds(data, data + contiguous.numel());
  int64_t before = 0;
  for (int64_t& bound : bounds) bound = before = std::clamp(bound, before, object_count);
  return bounds;
}

using Tensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Tensors best_overlaps(
    Tensor candidates, std::optional<Tensor> images, Tensor boxes, Tensor bounds, std::string measure,
    bool of_objects) {
  candidates = as_contiguous(candidates);
  boxes = as_contiguous(boxes);
  if (images) images = as_contiguous(*images);
  int64_t candidate_count = candidates.size(0), object_count = boxes.size(0);
  Problem problem{
      boxes_of(candidates), images ? images->const_data_ptr<int64_t>() : nullptr, boxes_of(boxes),
      bounds_of(bounds, object_count), candidate_count};
  std::vector<int64_t> shape{candidate_count}, none{0}, of_object{of_objects ? object_count : 0};
  if (!images) shape.insert(shape.begin(), problem.image_count());
  Tensor overlaps = torch::stable::new_empty(candidates, shape);
  Tensor rows = torch::stable::new_empty(candidates, shape, ScalarType::Long);
  Tensor is_best = torch::stable::new_zeros(candidates, of_objects ? shape : none, ScalarType::Bool);
  Tensor object_overlaps = torch::stable::new_zeros(candidates, of_object);
  Tensor object_candidates = torch::stable::new_empty(candidates, of_object, ScalarType::Long);
  Results results{
      overlaps.mutable_data_ptr<float>(), rows.mutable_data_ptr<int64_t>(), is_best.mutable_data_ptr<bool>(),
      object_overlaps.mutable_data_ptr<float>(), object_candidates.mutable_data_ptr<int64_t>()};
  std::vector<float> most(of_objects ? object_count * problem.chunk_count() : 0, 0.0f);
  bool is_iou = measure == "iou";
  (is_iou ? compare_all<Measure::iou> : compare_all<Measure::coverage>)(problem, results, most);
  if (of_objects) {
    (is_iou ? find_best_of_objects<Measure::iou> : find_best_of_objects<Measure::coverage>)(problem, results, most);
  }
  return {overlaps, rows, is_best, object_overlaps, object_candidates};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) { m.impl("best_overlaps", TORCH_BOX(&best_overlaps)); }

}  // namespace detkit
