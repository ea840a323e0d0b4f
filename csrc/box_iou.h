// box_iou: pairwise overlap of two sets of boxes.
//
//   boxes1  (N, 4) float or double, x1 y1 x2 y2
//   boxes2  (M, 4) of the same type
//   mode    "iou", "giou", "diou" or "ciou"
//   result  (N, M) of the same type
//
// box_iou_backward: the gradient of a loss with respect to both sets.
//
//   gradient  (N, M), the loss's gradient with respect to the result
//   result    (N, 4) and (M, 4)
#pragma once

#include <cmath>
#include <string>

#include "box.h"

namespace detkit {

enum class OverlapMode { iou, giou, diou, ciou };

// A number with its derivatives by the four coordinates of a box: the overlap below, computed in duals, gives its own
// gradient.
template <typename T>
struct Dual {
  T value;
  T partial[4];

  DETKIT_HOST_DEVICE Dual() : Dual(T(0)) {}
  DETKIT_HOST_DEVICE explicit Dual(T constant) : value(constant), partial{} {}
  DETKIT_HOST_DEVICE static Dual variable(T value, int which) {
    Dual dual(value);
    dual.partial[which] = T(1);
    return dual;
  }
  // value(a, b) whose derivatives by a and b are as given.
  DETKIT_HOST_DEVICE static Dual chain(T value, const Dual& a, T by_a, const Dual& b, T by_b) {
    Dual dual(value);
    for (int i = 0; i < 4; ++i) dual.partial[i] = by_a * a.partial[i] + by_b * b.partial[i];
    return dual;
  }
};

template <typename T>
DETKIT_HOST_DEVICE Dual<T> operator+(const Dual<T>& a, const Dual<T>& b) {
  return Dual<T>::chain(a.value + b.value, a, T(1), b, T(1));
}
template <typename T>
DETKIT_HOST_DEVICE Dual<T> operator-(const Dual<T>& a, const Dual<T>& b) {
  return Dual<T>::chain(a.value - b.value, a, T(1), b, T(-1));
}
template <typename T>
DETKIT_HOST_DEVICE Dual<T> operator*(const Dual<T>& a, const Dual<T>& b) {
  return Dual<T>::chain(a.value * b.value, a, b.value, b, a.value);
}
template <typename T>
DETKIT_HOST_DEVICE Dual<T> operator/(const Dual<T>& a, const Dual<T>& b) {
  T quotient = a.value / b.value;
  return Dual<T>::chain(quotient, a, T(1) / b.value, b, -quotient / b.value);
}
template <typename T>
DETKIT_HOST_DEVICE bool operator<(const Dual<T>& a, const Dual<T>& b) {
  return a.value < b.value;
}

DETKIT_HOST_DEVICE float value_of(float number) { return number; }
DETKIT_HOST_DEVICE double value_of(double number) { return number; }
template <typename T>
DETKIT_HOST_DEVICE T value_of(const Dual<T>& number) {
  return number.value;
}

DETKIT_HOST_DEVICE float angle(float y, float x) { return atan2f(y, x); }
DETKIT_HOST_DEVICE double angle(double y, double x) { return atan2(y, x); }
template <typename T>
DETKIT_HOST_DEVICE Dual<T> angle(const Dual<T>& y, const Dual<T>& x) {
  T square = x.value * x.value + y.value * y.value;
  if (!(square > T(0))) return Dual<T>(T(0));
  return Dual<T>::chain(angle(y.value, x.value), y, x.value / square, x, -y.value / square);
}

// The quotient, and 0 where the denominator is not positive.
template <typename N>
DETKIT_HOST_DEVICE N ratio(const N& numerator, const N& denominator) {
  bool valid = N(0) < denominator;
  N quotient = numerator / (valid ? denominator : N(1));  // always divided, so that loops over it can be vectorized
  return valid ? quotient : N(0);
}

// The angle of a box's diagonal, of which CIoU takes the difference.
template <typename N>
DETKIT_HOST_DEVICE N slant(const Box<N>& box) {
  return angle(box.x2 - box.x1, box.y2 - box.y1);
}

// A box with what is the same in all of its overlaps. The slant is 0 where the mode has no use for it.
template <typename N>
struct MeasuredBox {
  Box<N> box;
  N area, slant;
};

template <OverlapMode mode, typename N>
DETKIT_HOST_DEVICE MeasuredBox<N> measured(const Box<N>& box) {
  if constexpr (mode == OverlapMode::ciou) return {box, area(box), slant(box)};
  return {box, area(box), N(0)};
}

// GIoU: Rezatofighi et al. 2019, algorithm 1. DIoU and CIoU: Zheng et al. 2020, equations 7 and 10.
template <OverlapMode mode, typename N>
DETKIT_HOST_DEVICE N overlap(const MeasuredBox<N>& measured_a, const MeasuredBox<N>& measured_b) {
  const Box<N>&a = measured_a.box, &b = measured_b.box;
  N common = intersection(a, b);
  N joint = measured_a.area + measured_b.area - common;
  N iou = ratio(common, joint);
  if constexpr (mode == OverlapMode::iou) return iou;

  N hull_width = larger(a.x2, b.x2) - smaller(a.x1, b.x1);
  N hull_height = larger(a.y2, b.y2) - smaller(a.y1, b.y1);
  if constexpr (mode == OverlapMode::giou) {
    N hull = hull_width * hull_height;
    return iou - ratio(hull - joint, hull);
  }

  N across = (a.x1 + a.x2 - b.x1 - b.x2) / N(2), down = (a.y1 + a.y2 - b.y1 - b.y2) / N(2);
  N diou = iou - ratio(across * across + down * down, hull_width * hull_width + hull_height * hull_height);
  if constexpr (mode == OverlapMode::diou) return diou;

  N turn = measured_a.slant - measured_b.slant;
  N disparity = N(0.405284734569351) * (turn * turn);  // 4 / pi^2
  auto excess = value_of(disparity);
  auto trade_off = ratio(excess, 1 - value_of(iou) + excess);  // a constant to the gradient
  return diou - N(trade_off) * disparity;
}

// The overlap of a and b with its derivatives by the coordinates of a.
template <OverlapMode mode, typename T>
DETKIT_HOST_DEVICE Dual<T> overlap_with_gradient(const Box<T>& a, const Box<T>& b) {
  using D = Dual<T>;
  Box<D> variable{D::variable(a.x1, 0), D::variable(a.y1, 1), D::variable(a.x2, 2), D::variable(a.y2, 3)};
  Box<D> constant{D(b.x1), D(b.y1), D(b.x2), D(b.y2)};
  return overlap<mode>(measured<mode>(variable), measured<mode>(constant));
}

// Calls `function` with the mode as a constant: `function.template operator()<mode>()`.
template <typename Function>
void with_mode(const std::string& name, const Function& function) {
  if (name == "giou") return function.template operator()<OverlapMode::giou>();
  if (name == "diou") return function.template operator()<OverlapMode::diou>();
  if (name == "ciou") return function.template operator()<OverlapMode::ciou>();
  return function.template operator()<OverlapMode::iou>();
}

}  // namespace detkit
