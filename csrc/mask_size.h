// The masks that can be run-length encoded: those whose pixels can be numbered by an int32.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <cstdint>

namespace detkit {

inline void check_size(int64_t height, int64_t width) {
  STD_TORCH_CHECK(
      height >= 0 && width >= 0 && (height == 0 || width <= INT32_MAX / height), "masks of ", height, " x ", width,
      " pixels: must not be negative, nor 2^31 or more together");
}

}  // namespace detkit
