// A box and the measures of it that several operations share.
#pragma once

#include "host_device.h"

namespace detkit {

template <typename T>
struct Box {
  T x1, y1, x2, y2;
};

template <typename T>
DETKIT_HOST_DEVICE T smaller(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
DETKIT_HOST_DEVICE T larger(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
DETKIT_HOST_DEVICE T area(const Box<T>& box) {
  return (box.x2 - box.x1) * (box.y2 - box.y1);
}

template <typename T>
DETKIT_HOST_DEVICE T intersection(const Box<T>& a, const Box<T>& b) {
  T width = larger(T(0), smaller(a.x2, b.x2) - larger(a.x1, b.x1));
  T height = larger(T(0), smaller(a.y2, b.y2) - larger(a.y1, b.y1));
  return width * height;
}

}  // namespace detkit
