// SPDX-License-Identifier: Apache-2.0
// The letter legend of every shape comment, and the shape check of public functions.
//
//   B  batch: sequences of a micro-batch    H  Mamba heads
//   L  sequence length                      P  channels of a Mamba head
//   T  tokens, B*L                          G  Mamba groups
//   V  vocabulary                           N  Mamba state size
//   D  hidden size                          E  Mamba inner size, H*P
//   F  neurons of an MLP layer (ffn)        W  taps of the convolution
//   S  budgets                              Q  chunk length of the scan
//   A  attention (query) heads              K  chunks per sequence
//   R  KV heads (query groups)              C  channels of an attention head
//
// In a shape, as in [T, D], T counts tokens; in code, as in View2<T>, T is the scalar type. The two
// never meet: a shape stands in a comment, a type in a declaration.
//
// Heads are stored interleaved across groups: head h belongs to group h % G (Mamba) or h % R
// (attention). The first k heads of every group are then the first k*G heads of all.
#pragma once
#include <string>

#include "base/error.hpp"
#include "base/types.hpp"

namespace elastic {

/// Throws ContractError, naming function and argument, unless `view` has extents (rows, columns).
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
