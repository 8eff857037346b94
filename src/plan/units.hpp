// SPDX-License-Identifier: Apache-2.0
// Numbers for people: "12.3 MB", "4.56 TFLOP", "1,234", "12.5%".
#pragma once
#include <optional>
#include <string>

namespace elastic {

/// Three to four significant digits and a decimal prefix: 12345678, "B" -> "12.35 MB".
std::string with_prefix(double value, const char* unit);
/// A whole number with separators of thousands: 12310001152 -> "12,310,001,152".
std::string grouped(double count);
/// 0.125 -> "12.5%"; "-" if there is none.
std::string percent(const std::optional<double>& part);
/// A line of the plan: what it is about, and the text; the next line on the same has no name.
std::string plan_line(const char* name, const std::string& text);
/// A short time: 1.234e-5 -> "12.34 us".
std::string in_seconds(double seconds);
inline std::string in_bytes(double bytes) { return with_prefix(bytes, "B"); }

}  // namespace elastic
