// best_overlaps: the object of its own image that each candidate overlaps most, without a matrix of all pairs.
//
//   candidates  (P, 4) float, x1 y1 x2 y2
//   images      (P,) int64, the image of each candidate, which has no object where there is no such image; or absent:
//               then all B images have the same candidates
//   boxes       (T, 4) float, the objects, ordered by image
//   bounds      (B + 1,) int64, where the objects of each image begin, and T
//   measure     "iou", or "coverage": the share of the candidate's area that lies in the object
//   of_objects  whether the objects' own best candidates are wanted, too
//   result      (P,) or, without images, (B, P) each:
//                 float, the greatest overlap
//                 int64, the object's row, of equal ones the first; -1 where the image has none
//               and of the objects, empty where they are not wanted:
//                 bool, of the same shape: whether no candidate overlaps one of the image's objects more than this one,
//                   which touches it
//                 (T,) float, the greatest overlap of each
//                 (T,) int64, the candidate that has it, of equal ones the first; -1 where none touches the object
#pragma once

#include "box_iou.h"

namespace detkit {

enum class Measure { iou, coverage };

// The overlap of a candidate with an object, not negative.
template <Measure measure>
DETKIT_HOST_DEVICE float overlap_of(const MeasuredBox<float>& candidate, const MeasuredBox<float>& object) {
  if constexpr (measure == Measure::iou) return overlap<OverlapMode::iou>(object, candidate);
  return ratio(intersection(candidate.box, object.box), candidate.area);
}

}  // namespace detkit
