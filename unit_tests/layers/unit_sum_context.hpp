// SPDX-License-Identifier: Apache-2.0
// The context in which tests call a UnitSum, and linear maps that end in one.
#pragma once
#include "layers/unit_sum.hpp"

namespace elastic::test {

/// One sequence of `num_tokens` tokens on one rank.
inline LayerContext context_of(Arena& arena, index_t num_tokens, bool deterministic) {
  return {.exec = {},
          .deterministic = deterministic,
          .arena = &arena,
          .batch = 1,
          .seq_length = num_tokens,
          .segment = {}};
}

}  // namespace elastic::test
