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
#pragma once

#include <cmath>

#include "box.h"

namespace detkit {

// The comparison `iou > threshold`, made in the type of the boxes, must decide as it would in double:
// so the threshold is rounded down.
template <typename T>
T threshold_as(double threshold) {
  T rounded = static_cast<T>(threshold);
  return static_cast<double>(rounded) > threshold ? std::nextafter(rounded, static_cast<T>(-INFINITY)) : rounded;
}

// Whether two boxes overlap by more than the threshold. An IoU of 0 / 0 is not more than anything.
template <typename T>
DETKIT_HOST_DEVICE bool overlaps(const Box<T>& a, T area_a, const Box<T>& b, T area_b, T threshold) {
  T common = intersection(a, b);
  return common / (area_a + area_b - common) > threshold;
}

// The same, for where it is seldom so: a division is made only where a product finds that it may matter.
template <typename T>
DETKIT_HOST_DEVICE bool overlaps_rarely(const Box<T>& a, T area_a, const Box<T>& b, T area_b, T threshold) {
  constexpr T slightly_less = sizeof(T) == 8 ? T(1 - 1e-15) : T(1 - 1e-6);
  T common = intersection(a, b), joint = area_a + area_b - common;
  if (threshold >= T(0) && !(common > T(0) && common >= slightly_less * threshold * joint)) return false;
  return common / joint > threshold;
}

}  // namespace detkit
