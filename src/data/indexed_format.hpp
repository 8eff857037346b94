// SPDX-License-Identifier: Apache-2.0
// Layout of the header of an .idx file, shared by its reader and its writer.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace elastic::indexed_format {

inline constexpr std::string_view magic{"MMIDIDX\0\0", 9};
inline constexpr std::uint64_t version = 1;
inline constexpr std::size_t version_byte = 9, dtype_byte = 17, sequences_byte = 18,
                             documents_byte = 26, header_bytes = 34;

/// Bytes of an id with a dtype code; 0 for codes that are unknown or floating point.
constexpr std::size_t item_size(unsigned dtype_code) {
  switch (dtype_code) {
    case 1:
    case 2:
      return 1;
    case 3:
    case 8:
      return 2;
    case 4:
      return 4;
    case 5:
      return 8;
    default:
      return 0;
  }
}

}  // namespace elastic::indexed_format
