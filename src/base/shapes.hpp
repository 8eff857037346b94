// SPDX-License-Identifier: Apache-2.0
// The letter legend of every shape comment, and the shape check of public functions.
//
//   B batch (sequences of a micro-batch)   L sequence length   T = B*L tokens      V vocabulary
//   D hidden size                          F ffn size          E = H*P inner size  S budgets
//   H Mamba heads   P Mamba head dim       G Mamba groups      N Mamba state dim
//   W conv width    Q chunk size           K chunks per sequence
//   A attention (query) heads              R query groups (KV heads)               C head channels
//
// Head storage is rank-major across groups: head h belongs to group h % G (Mamba) or h % R (attention), so that
// "k heads in every group" is the contiguous prefix of k*G heads.
#pragma once
#include <string>

#include "base/error.hpp"
#include "base/types.hpp"

namespace elastic {

/// Throws ContractError unless `view` has extents (rows, columns).
template <class V>
void require_shape(const char* function, const char* argument, const V& view, index_t rows,
                   index_t columns) {
  const auto r = static_cast<index_t>(view.extent(0)), c = static_cast<index_t>(view.extent(1));
  if (r != rows || c != columns)
    throw_contract(fmt::format("{}: {} is [{}, {}], expected [{}, {}]", function, argument, r, c,
                               rows, columns));
}
template <class V>
void require_shape(const char* function, const char* argument, const V& view, index_t count) {
  const auto n = static_cast<index_t>(view.extent(0));
  if (n != count)
    throw_contract(fmt::format("{}: {} is [{}], expected [{}]", function, argument, n, count));
}
/// As require_shape, but an empty View (argument absent) is allowed.
template <class V>
void require_shape_or_empty(const char* function, const char* argument, const V& view,
                            index_t count) {
  if (view.extent(0) != 0) require_shape(function, argument, view, count);
}

}  // namespace elastic
