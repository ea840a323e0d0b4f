// soft_nms: greedy suppression that lowers the scores of overlapping boxes instead of removing them.
//
//   boxes            (N, 4) float or double, x1 y1 x2 y2
//   scores           (N,)   of the same type, no NaN; not negative unless the method is "hard"
//   labels           (N,)   int64, or absent: then all boxes are of one class
//   iou_threshold    of "linear" and "hard", not negative: what an IoU must be greater than to count
//   sigma            of "gaussian"
//   method           "linear", "gaussian" or "hard"
//   score_threshold  a box goes when its score falls below this
//   result           (M,) int64, the indices of the boxes that stay, best first; of equal scores the lower index first;
//                    and (M,) their scores when they were taken
#pragma once

#include <cmath>
#include <string>

#include "nms.h"

namespace detkit {

enum class Decay { linear, gaussian, hard };

template <typename T>
struct SoftRule {
  T iou_threshold, sigma, score_threshold;

  // Rounded so that comparisons decide as they would in double.
  static SoftRule of(double iou_threshold, double sigma, double score_threshold) {
    return {threshold_as<T>(iou_threshold), static_cast<T>(sigma), -threshold_as<T>(-score_threshold)};
  }
};

// The score of a box that was taken, or that fell below the threshold.
template <typename T>
constexpr T gone = T(-INFINITY);

// The score, where it is high enough to go on with.
template <typename T>
DETKIT_HOST_DEVICE T lasting(T score, const SoftRule<T>& rule) {
  return score >= rule.score_threshold ? score : gone<T>;
}

DETKIT_HOST_DEVICE float exponential(float x) { return expf(x); }
DETKIT_HOST_DEVICE double exponential(double x) { return exp(x); }

template <typename T>
DETKIT_HOST_DEVICE T iou_of(const Box<T>& a, T area_a, const Box<T>& b, T area_b) {
  T common = intersection(a, b);
  return common / (area_a + area_b - common);
}

// Bodla et al. 2017, section 3, the two functions of the overlap. An IoU of 0 / 0 decays nothing.
template <Decay method, typename T>
DETKIT_HOST_DEVICE T decayed(T score, T iou, const SoftRule<T>& rule) {
  if constexpr (method == Decay::hard) return iou > rule.iou_threshold ? gone<T> : score;
  if constexpr (method == Decay::gaussian) {
    return lasting(iou > T(0) ? score * exponential(-iou * iou / rule.sigma) : score, rule);
  }
  T left = larger(T(0), T(1) - iou);  // rounding can make an IoU greater than 1
  return lasting(iou > rule.iou_threshold ? score * left : score, rule);
}

// Calls `function` with the method as a constant: `function.template operator()<method>()`.
template <typename Function>
void with_decay(const std::string& name, const Function& function) {
  if (name == "gaussian") return function.template operator()<Decay::gaussian>();
  if (name == "hard") return function.template operator()<Decay::hard>();
  return function.template operator()<Decay::linear>();
}

}  // namespace detkit
