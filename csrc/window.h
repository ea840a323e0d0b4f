// A rectangle of an image's pixels.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace detkit {

// Columns from `left` up to but not including `right`, rows from `top` to `bottom` likewise.
struct Window {
  int64_t left, top, right, bottom;

  DETKIT_HOST_DEVICE int64_t width() const { return right - left; }
  DETKIT_HOST_DEVICE int64_t height() const { return bottom - top; }
  DETKIT_HOST_DEVICE bool is_empty() const { return width() <= 0 || height() <= 0; }
};

}  // namespace detkit
