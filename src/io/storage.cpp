// SPDX-License-Identifier: Apache-2.0
// What files hold: names and sizes of element types.
#include "io/storage.hpp"

#include <fmt/format.h>

namespace elastic {

const char* name_of(StorageType type) {
  switch (type) {
    case StorageType::float32:
      return "float32";
    case StorageType::float64:
      return "float64";
    case StorageType::bfloat16:
      return "bfloat16";
    case StorageType::int64:
      return "int64";
  }
  return "unknown";
}

std::size_t size_of(StorageType type) {
  switch (type) {
    case StorageType::float32:
      return 4;
    case StorageType::bfloat16:
      return 2;
    case StorageType::float64:
    case StorageType::int64:
      break;
  }
  return 8;
}

std::string to_string(const Extents& extents) {
  if (extents.rank == 1) return fmt::format("[{}]", extents.rows);
  return fmt::format("[{}, {}]", extents.rows, extents.columns);
}

}  // namespace elastic
