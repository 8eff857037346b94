// SPDX-License-Identifier: Apache-2.0
// Blocks of tokens over which parameter gradients are summed in one go.
//
// Usually the whole micro-batch is one block. In deterministic mode a block is a span of a sequence
// that no layout of ranks cuts (parallel/spans.hpp). Its sum is then a fixed one, and BlockSums
// adds the blocks in a way that does not depend on their order.
#pragma once
#include "base/error.hpp"
#include "base/types.hpp"

namespace elastic {

/// Takes gradients that were summed over one block.
class BlockSums {
 public:
  virtual ~BlockSums() = default;
  /// Adds a gradient to the sums and sets it to zero; an empty one is passed over.
  virtual void take(const View1<float>&) { throw_contract("no sums of single precision"); }
  virtual void take(const View1<double>&) { throw_contract("no sums of double precision"); }
};

/// Block `number` of `count` equal ones: its rows of whatever has some for each token.
struct TokenBlock {
  index_t number = 0, count = 1;

  template <class T>
  View2<T> of(const View2<T>& all) const {
    const index_t size = static_cast<index_t>(all.extent(0)) / count;
    if (size == 0) return all;
    return rows(all, number * size, (number + 1) * size);
  }
  template <class T>
  View1<T> of(const View1<T>& all) const {
    const index_t size = static_cast<index_t>(all.extent(0)) / count;
    if (size == 0) return all;
    return Kokkos::subview(all, Range(number * size, (number + 1) * size));
  }
};

}  // namespace elastic
