// COCO's evaluation, https://cocodataset.org/#detection-eval, in two steps.
//
// coco_match_boxes, coco_match_masks, coco_match_keypoints: which detections find an object. Within one image and
// category, the best scored first, each detection takes the object that it is most similar to.
//
//   scores                (D,)    double
//   images, categories    (D,)    int64, of the detections: the image's number, the category's position
//   areas                 (D,)    double, square pixels, which decide whether it belongs to an area range
//   object_images, object_categories, object_areas   (G,), likewise
//   object_crowd          (G,)    bool; a crowd can be found by any number of detections
//   object_ignored        (G,)    bool; found or not, it counts for nothing; crowds are among them
//   thresholds            (T,)    double, of the similarity; at most 31
//   area_ranges           (A, 2)  double, both ends included
//   max_detections        the best of each image and category that are looked at
//   and what is compared:
//     boxes, object_boxes            (D, 4), (G, 4) double, x y width height
//     strings, offsets, sizes        (bytes,) uint8, (D + 1,) int64, (D, 2) int64 height, width: compressed run lengths
//     pixels, boxes                  (D,), (D, 4) double, as measured below; pixels NaN for a mask with empty runs
//     object_strings …               the same for the objects
//     keypoints, object_keypoints    (D, J, 3), (G, J, 3) double; sigmas (J,) double; object_boxes as above
//   results
//     order               (M,)    int64, the detections that are looked at, by category, by image, best first
//     matched, ignored    (A, M)  int32; bit t: whether it found an object at threshold t, counts for nothing
//
// coco_measure_masks: the pixels (N,) of masks given by strings, offsets and sizes, the boxes (N, 4) x y width height
// around them, double, and whether a run after the first is of length 0, bool (N,), as no encoder writes it.
//
// coco_fill_masks: masks as files have them, polygons or strings, all as strings and offsets.
//
//   corners               (2P,)    double, x y of each corner of all polygons
//   polygons              (Q + 1,) int64, where each polygon begins among the corners
//   objects               (N + 1,) int64, where the polygons of each object begin
//   characters, strings   (bytes,) uint8, (N + 1,) int64: the strings of all objects, empty for those with polygons
//   sizes                 (N, 2)   int64, height and width
//
// coco_accumulate: precision, recall and score where a recall is reached.
//
//   scores, images, categories, order, matched, ignored   as above
//   objects               (A, K)  double, how many objects of a category there are to find
//   recall_thresholds     (R,)    double, ascending
//   max_detections        L numbers: the results are computed with so many of each image and category
//   threshold_count       T
//   image_weights         (I,)    double, or absent: how often each image counts
//   results               precision (K, A, L, T, R), recall (K, A, L, T), score (K, A, L, T, R), double; -1 where there
//                         is no object to find
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace detkit::coco {

// Those of one image and category: order[begin .. end - 1].
struct Group {
  int64_t category, image, begin, end;

  bool precedes(const Group& other) const {
    return category != other.category ? category < other.category : image < other.image;
  }
};

struct Grouping {
  std::vector<int64_t> order;  // by category, by image, in the order given
  std::vector<Group> groups;
};

// One pass of a stable sort by whole numbers from 0.
inline std::vector<int64_t> ordered_by(const int64_t* keys, const std::vector<int64_t>& order) {
  int64_t largest = -1;
  for (int64_t i : order) largest = std::max(largest, keys[i]);
  std::vector<int64_t> place(largest + 2), sorted(order.size());
  for (int64_t i : order) ++place[keys[i] + 1];
  std::partial_sum(place.begin(), place.end(), place.begin());
  for (int64_t i : order) sorted[place[keys[i]]++] = i;
  return sorted;
}

inline Grouping group(const int64_t* categories, const int64_t* images, int64_t count) {
  Grouping result;
  result.order.resize(count);
  std::iota(result.order.begin(), result.order.end(), 0);
  result.order = ordered_by(categories, ordered_by(images, result.order));
  for (int64_t begin = 0, end; begin < count; begin = end) {
    int64_t first = result.order[begin];
    auto is_other = [&](int64_t i) { return categories[i] != categories[first] || images[i] != images[first]; };
    end = std::find_if(result.order.begin() + begin, result.order.end(), is_other) - result.order.begin();
    result.groups.push_back({categories[first], images[first], begin, end});
  }
  return result;
}

}  // namespace detkit::coco
