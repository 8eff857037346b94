// SPDX-License-Identifier: Apache-2.0
// Values between types in memory and types in a checkpoint.
#pragma once
#include <algorithm>

#include "base/error.hpp"
#include "io/storage.hpp"

namespace elastic::checkpoint {

/// Widened exactly, or rounded to nearest.
template <class To, class From>
void convert(const From* from, std::size_t count, To* to) {
  std::transform(from, from + count, to, [](From x) { return static_cast<To>(x); });
}

/// Calls f with a null pointer to the C++ type of elements stored as a real type.
template <class F>
void with_real_type(StorageType type, const F& f) {
  switch (type) {
    case StorageType::float32:
      return f(static_cast<float*>(nullptr));
    case StorageType::float64:
      return f(static_cast<double*>(nullptr));
    case StorageType::bfloat16:
      return f(static_cast<bfloat16*>(nullptr));
    case StorageType::int64:
      break;
  }
  throw_contract("int64 is not a real type");
}

template <class T>
constexpr bool is_real = std::is_floating_point_v<T> || std::is_same_v<T, bfloat16>;

/// The attribute format of every checkpoint.
inline constexpr const char* format_name = "elastic checkpoint";

}  // namespace elastic::checkpoint
