// Soft-NMS on CUDA: a block for each class, which takes its boxes one by one. The scores are the only memory that it
// needs beside the input.
#include "../soft_nms.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "../contiguous.h"
#include "launch.h"
#include "sort.h"

namespace detkit {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int class_threads = 512;

// The boxes label by label, of each label in order of their indices.
template <typename T>
struct Classes {
  const Box<T>* boxes;
  const int64_t* labels;  // sorted; absent where all boxes are of one class
  const int64_t* order;   // the boxes' indices; absent where there are no labels
  int64_t count;

  __device__ int64_t index(int64_t place) const { return order ? order[place] : place; }
  __device__ bool begins_at(int64_t place) const {
    return place == 0 || (labels && labels[place] != labels[place - 1]);
  }
  __device__ int64_t end_after(int64_t place) const {
    if (!labels) return count;
    int64_t low = place + 1, high = count;  // the first place of a greater label is in low..high
    while (low < high) {
      int64_t middle = low + (high - low) / 2;
      if (labels[middle] == labels[place]) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// The scores that are left, by the boxes' indices, and those of the boxes that were taken. numbers[1] tells of NaN.
template <typename T>
__global__ void start_kernel(const T* scores, SoftRule<T> rule, int64_t count, T* left, T* taken, int64_t* numbers) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    left[i] = lasting(scores[i], rule);
    taken[i] = gone<T>;
    if (scores[i] != scores[i]) numbers[1] = 1;
  }
}

// The best of all threads' candidates, of equal scores the one of the lowest place, to every thread.
template <typename T>
__device__ void agree_on_best(T& score, int64_t& place) {
  __shared__ T scores[class_threads];
  __shared__ int64_t places[class_threads];
  int thread = threadIdx.x;
  __syncthreads();
  scores[thread] = score;
  places[thread] = place;
  for (int half = class_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread >= half) continue;
    T other = scores[thread + half];
    int64_t other_place = places[thread + half];
    if (other > scores[thread] || (other == scores[thread] && other_place < places[thread])) {
      scores[thread] = other;
      places[thread] = other_place;
    }
  }
  __syncthreads();
  score = scores[0];
  place = places[0];
}

// `taken` gets the scores of the boxes that stay, numbers[0] their number.
template <Decay method, typename T>
__global__ void take_kernel(Classes<T> classes, SoftRule<T> rule, T* left, T* taken, int64_t* numbers) {
  for (int64_t begin = blockIdx.x; begin < classes.count; begin += gridDim.x) {
    if (!classes.begins_at(begin)) continue;
    int64_t end = classes.end_after(begin), found = 0;
    Box<T> box{};
    T box_area = T(0);
    int64_t place = -1;  // of the box that was taken last
    for (;;) {
      T best = gone<T>;
      int64_t best_place = end;
      for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
        int64_t index = classes.index(i);
        T score = left[index];
        if (score == gone<T>) continue;
        if (i == place) {
          score = gone<T>;
        } else if (place >= 0) {
          Box<T> own = classes.boxes[index];
          score = decayed<method>(score, iou_of(box, box_area, own, area(own)), rule);
        }
        left[index] = score;
        if (score > best) {
          best = score;
          best_place = i;
        }
      }
      agree_on_best(best, best_place);
      if (best == gone<T>) break;
      place = best_place;
      box = classes.boxes[classes.index(place)];
      box_area = area(box);
      if (threadIdx.x == 0) taken[classes.index(place)] = best;
      ++found;
    }
    if (threadIdx.x == 0) atomicAdd(reinterpret_cast<unsigned long long*>(numbers), (unsigned long long)found);
  }
}

template <typename T>
std::tuple<Tensor, Tensor> take(
    const Tensor& boxes, const Tensor& scores, const std::optional<Sorted>& by_label, const std::string& method,
    const SoftRule<T>& rule) {
  int64_t count = boxes.size(0);
  cudaStream_t stream = stream_of(boxes);
  Tensor left = torch::stable::empty_like(scores), taken = torch::stable::empty_like(scores);
  Tensor numbers = torch::stable::new_zeros(scores, {2}, ScalarType::Long);
  int64_t* number = numbers.mutable_data_ptr<int64_t>();
  launch(
      start_kernel<T>, blocks_for(count), threads_per_block, stream, scores.const_data_ptr<T>(), rule, count,
      left.mutable_data_ptr<T>(), taken.mutable_data_ptr<T>(), number);
  Classes<T> classes{reinterpret_cast<const Box<T>*>(boxes.const_data_ptr<T>()), nullptr, nullptr, count};
  if (by_label) {
    classes.labels = by_label->values.const_data_ptr<int64_t>();
    classes.order = by_label->indices.const_data_ptr<int64_t>();
  }
  unsigned blocks = by_label ? static_cast<unsigned>(std::min<int64_t>(count, 65536)) : 1;
  with_decay(method, [&]<Decay constant>() {
    launch(
        take_kernel<constant, T>, blocks, class_threads, stream, classes, rule, left.mutable_data_ptr<T>(),
        taken.mutable_data_ptr<T>(), number);
  });
  Sorted best_first = stable_sort(taken, true);
  // The size of the result must be known here, so this waits for the kernels.
  int64_t known[2];
  STD_CUDA_CHECK(cudaMemcpyAsync(known, number, sizeof known, cudaMemcpyDeviceToHost, stream));
  STD_CUDA_CHECK(cudaStreamSynchronize(stream));
  STD_TORCH_CHECK(!known[1], "scores must not be NaN: the model that made them has diverged, or they were never set");
  return {
      torch::stable::clone(torch::stable::narrow(best_first.indices, 0, 0, known[0])),
      torch::stable::clone(torch::stable::narrow(best_first.values, 0, 0, known[0]))};
}

std::tuple<Tensor, Tensor> soft_nms(
    Tensor boxes, Tensor scores, std::optional<Tensor> labels, double iou_threshold, double sigma, std::string method,
    double score_threshold) {
  torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  boxes = as_contiguous(boxes);
  scores = as_contiguous(scores);
  if (boxes.size(0) == 0) {
    return {torch::stable::new_empty(boxes, {0}, ScalarType::Long), torch::stable::new_empty(boxes, {0})};
  }
  std::optional<Sorted> by_label;
  if (labels) by_label = stable_sort(as_contiguous(*labels), false);
  auto run = [&]<typename T>() {
    return take<T>(boxes, scores, by_label, method, SoftRule<T>::of(iou_threshold, sigma, score_threshold));
  };
  return boxes.scalar_type() == ScalarType::Double ? run.template operator()<double>()
                                                   : run.template operator()<float>();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CUDA, m) {
  m.impl("soft_nms", TORCH_BOX(&soft_nms));
}

}  // namespace detkit
