// SPDX-License-Identifier: Apache-2.0
// The types that ranks add up. bfloat16 is none of them: every addend would have been rounded
// to 8 bits, and so would every partial sum. Sums over ranks are formed in Accumulate<T> and
// rounded once at the end; bfloat16 values are broadcast, gathered and sent as they are.
#pragma once
#include <concepts>

#include "base/types.hpp"

namespace elastic {

template <class T>
concept Summable = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, index_t> ||
    std::same_as<T, int>;

}  // namespace elastic
