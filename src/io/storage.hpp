// SPDX-License-Identifier: Apache-2.0
// What files hold: element types, extents and attributes. No HDF5 in this header.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/types.hpp"

namespace elastic {

/// Element types of datasets (little endian). bfloat16 is an HDF5 float with 8 exponent and 7
/// mantissa bits, which h5dump prints and h5py reads as numbers.
enum class StorageType { float32, float64, bfloat16, int64 };

const char* name_of(StorageType type);
std::size_t size_of(StorageType type);

/// The type that stores T without change. T = float, double, index_t, bfloat16, or std::uint16_t
/// for the bits of one.
template <class T>
constexpr StorageType storage_type_of() {
  if constexpr (std::is_same_v<T, float>) return StorageType::float32;
  if constexpr (std::is_same_v<T, double>) return StorageType::float64;
  if constexpr (std::is_same_v<T, index_t>) return StorageType::int64;
  if constexpr (std::is_same_v<T, std::uint16_t> || std::is_same_v<T, bfloat16>)
    return StorageType::bfloat16;
}

/// Extents of a dataset of rank 1 ([rows], columns = 1) or rank 2 ([rows, columns], row-major).
struct Extents {
  int rank = 2;
  index_t rows = 0, columns = 1;
  static Extents vector(index_t count) { return {1, count, 1}; }
  static Extents matrix(index_t rows, index_t columns) { return {2, rows, columns}; }
  index_t size() const { return rows * columns; }
  bool operator==(const Extents&) const = default;
};
/// "[3]" or "[3, 4]".
std::string to_string(const Extents& extents);

/// A small value attached to a file, group or dataset.
using Attribute = std::variant<index_t, double, std::string, std::vector<index_t>,
                               std::vector<double>, std::vector<std::string>>;
using Attributes = std::map<std::string, Attribute>;

}  // namespace elastic
