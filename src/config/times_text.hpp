// SPDX-License-Identifier: Apache-2.0
// Measured times as the text of a file, and back.
#pragma once
#include "elastic/measured/measured_times.hpp"

namespace elastic {

/// Text form (JSON) and back. Throws InputError naming the key.
std::string to_json(const MeasuredTimes& times);
MeasuredTimes times_from_json(const std::string& text);

}  // namespace elastic
