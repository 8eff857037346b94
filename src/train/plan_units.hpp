// SPDX-License-Identifier: Apache-2.0
// Large numbers for people: "12.3 MB", "4.56 TFLOP".
#pragma once
#include <string>

namespace elastic {

/// Three to four significant digits and a decimal prefix: 12345678, "B" -> "12.35 MB".
std::string with_prefix(double value, const char* unit);
inline std::string in_bytes(double bytes) { return with_prefix(bytes, "B"); }

}  // namespace elastic
