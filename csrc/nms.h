// nms: greedy non-maximum suppression, of all boxes together or of each class by itself.
//
//   boxes          (N, 4) float or double, x1 y1 x2 y2
//   scores         (N,)   float or double
//   labels         (N,)   int64, or absent: then all boxes are of one class
//   iou_threshold  a box goes when its IoU with a better one that stays is greater
//   result         (M,)   int64, the indices of the boxes that stay, best first; of equal scores the lower index first
//
// nms_padded: the same in a result of fixed size.
//
//   count          the most indices to give
//   result         (count,) int64, the best of those that stay, then -1; and () int64, how many are not -1
//
// batched_nms_padded: the same for each image of a batch.
//
//   image_index    (N,)   int64, the image of each box; boxes whose image is not in 0..images - 1 take no part
//   labels         (N,)   int64 of 32 bits, or absent: then all boxes of an image are of one class
//   result         (images, count) int64 and (images,) int64
#pragma once

#include <cmath>
#include <cstdint>

#include "box.h"

namespace detkit {

// The comparison `iou > threshold`, made in the type of the boxes, must decide as it would in double:
// so the threshold is rounded down.
template <typename T>
T threshold_as(double threshold) {
  T rounded = static_cast<T>(threshold);
  return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, static_cast<T>(-INFINITY)) : rounded;
}

DETKIT_HOST_DEVICE bool is_image(int64_t index, int64_t images) { return index >= 0 && index < images; }

// One number for both: boxes suppress each other where it is the same. What belongs to no image is of image -1.
DETKIT_HOST_DEVICE int64_t group_of(int64_t image, int64_t label, int64_t images) {
  uint64_t high = static_cast<uint64_t>(is_image(image, images) ? image : -1) << 32;
  return static_cast<int64_t>(high | static_cast<uint32_t>(label));
}

// Whether two boxes overlap by more than the threshold. An IoU of 0 / 0 is not more than anything.
template <typename T>
DETKIT_HOST_DEVICE bool overlaps(const Box<T>& a, T area_a, const Box<T>& b, T area_b, T threshold) {
  T common = intersection(a, b);
  return common / (area_a + area_b - common) > threshold;
}

}  // namespace detkit
