// Boxes that stay, coordinate by coordinate, so that one box is compared with many at once: the fastest way while
// they are few.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "../nms.h"
#include "ranked_boxes.h"
#include "vector.h"

namespace detkit {

// The overlap is tested without a division: intersection / (a + b - intersection) is more than the threshold where
// the intersection is more than the sum of the boxes' shares, a share being area * threshold / (1 + threshold). What
// rounding leaves open is then decided exactly.
template <typename T>
class BoxColumns {
 public:
  // The boxes to compare. The threshold must not be negative.
  BoxColumns(const RankedBoxes<T>& boxes, T threshold)
      : boxes_(boxes), threshold_(threshold), share_(threshold / (1 + threshold)) {}

  int64_t count() const { return count_; }

  void add(int64_t i) {
    Box<T> box = boxes_[i];
    if (count_ % group == 0) {
      for (auto* column : {&x1_, &y1_, &x2_, &y2_, &shares_}) column->resize(count_ + group);
      // What fills the group up overlaps nothing.
      std::fill(shares_.begin() + count_, shares_.end(), std::numeric_limits<T>::infinity());
    }
    x1_[count_] = box.x1;
    y1_[count_] = box.y1;
    x2_[count_] = box.x2;
    y2_[count_] = box.y2;
    shares_[count_++] = share_of(box);
    kept_.push_back(box);
  }

  // Sets stays[i] to whether the box ranked i overlaps none of those that were added, for i from `first` to `last`.
  void compare(int64_t first, int64_t last, uint8_t* stays) const {
    constexpr int64_t most = 256;
    Box<T> near[most];  // read together, so that one is not waited for after the other
    for (; first < last; first += most) {
      int64_t count = std::min(most, last - first);
      for (int64_t i = 0; i < count; ++i) near[i] = boxes_[first + i];
      compare(near, count, stays + first);
    }
  }

  // The same for any boxes.
  DETKIT_EVERY_MACHINE void compare(const Box<T>* boxes, int64_t count, uint8_t* stays) const {
    for (int64_t i = 0; i < count; ++i) stays[i] = !overlaps_one(boxes[i], 0);
  }

  // Whether a box overlaps one of those added, of which the first `known` are known not to.
  DETKIT_EVERY_MACHINE bool overlaps_any(int64_t i, int64_t known) const { return overlaps_one(boxes_[i], known); }

 private:
  static constexpr int64_t group = 4 * lanes<T>;
  using Flag = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;  // as large as T, for the compiler's vectors
  static constexpr T rounding = 16 * std::numeric_limits<T>::epsilon();

  DETKIT_INLINE bool overlaps_one(const Box<T>& box, int64_t known) const {
    const T *x1 = x1_.data(), *y1 = y1_.data(), *x2 = x2_.data(), *y2 = y2_.data(), *shares = shares_.data();
    T own_share = share_of(box);
    for (int64_t begin = known / group * group; begin < count_; begin += group) {
      Flag open = 0, certain = 0;  // whether an intersection may be enough, and whether one certainly is
      for (int64_t i = begin; i < begin + group; ++i) {
        T common = intersection(box, {x1[i], y1[i], x2[i], y2[i]}), enough = shares[i] + own_share;
        open |= Flag(common > enough * (1 - rounding));
        certain |= Flag(common > enough * certainty());
      }
      if (open && (certain || overlaps_exactly(box, begin))) return true;
    }
    return false;
  }

  // Not negative for boxes without a size, so that these overlap nothing.
  T share_of(const Box<T>& box) const { return larger(T(0), area(box)) * share_; }

  // A quotient near zero may vanish, which only the division tells.
  T certainty() const { return threshold_ > T(1e-6) ? 1 + rounding : std::numeric_limits<T>::infinity(); }

  bool overlaps_exactly(const Box<T>& box, int64_t begin) const {
    T own_area = area(box);
    for (int64_t i = begin; i < std::min(begin + group, count_); ++i) {
      if (overlaps(kept_[i], area(kept_[i]), box, own_area, threshold_)) return true;
    }
    return false;
  }

  RankedBoxes<T> boxes_;
  T threshold_, share_;
  std::vector<Box<T>> kept_;
  std::vector<T> x1_, y1_, x2_, y2_, shares_;
  int64_t count_ = 0;
};

}  // namespace detkit
