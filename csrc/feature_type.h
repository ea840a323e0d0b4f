// The types of features, and the one that each is computed in.
#pragma once

#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

namespace detkit {

// Calls `function` with both types as constants: `function.template operator()<Feature, Computed>()`.
template <typename Function>
auto with_feature_type(torch::headeronly::ScalarType type, const Function& function) {
  using torch::headeronly::ScalarType;
  switch (type) {
    case ScalarType::Half:
      return function.template operator()<torch::headeronly::Half, float>();
    case ScalarType::BFloat16:
      return function.template operator()<torch::headeronly::BFloat16, float>();
    case ScalarType::Double:
      return function.template operator()<double, double>();
    default:
      return function.template operator()<float, float>();
  }
}

}  // namespace detkit
