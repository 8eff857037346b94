// SPDX-License-Identifier: Apache-2.0
// Deterministic mode: gradients that were summed over one block of tokens
// (parallel/token_blocks.hpp), rounded to multiples of 2^-40 and added as integers
// (kernels/update/fixed_point.hpp). Neither the order of the blocks nor how they are
// spread over ranks changes a bit.
#pragma once
#include "kernels/update/fixed_point.hpp"
#include "parallel/token_blocks.hpp"

namespace elastic {

/// The sums of one flat buffer of gradients.
class FixedPointGradients {
 public:
  /// `overflow` [1] becomes 1 if a sum leaves its range or a term is not finite. `limit`:
  /// see kernels/update/fixed_point.hpp.
  FixedPointGradients(const View1<Accumulate<Real>>& gradients, double limit,
                      const View1<index_t>& overflow);
  /// Gradients and sums start at zero.
  void begin();
  bool is_of(const View1<Accumulate<Real>>& gradients) const {
    return m_gradients.data() == gradients.data();
  }
  bool holds(const View1<Accumulate<Real>>& part) const;
  /// Moves a part of the gradients into the sums: it becomes zero, or NaN where it does not fit.
  void take(const View1<Accumulate<Real>>& part);
  /// To be summed over ranks.
  const View1<index_t>& sums() const { return m_sums; }
  /// Adds the sums to the gradients, which are zero, or NaN where a term was refused.
  void finish();

 private:
  View1<Accumulate<Real>> m_gradients;
  double m_limit;
  View1<index_t> m_overflow, m_sums;
};

/// Adds what a block gave to the sums of its buffer.
class BlockGradients final : public BlockSums {
 public:
  explicit BlockGradients(std::vector<FixedPointGradients*> buffers)
      : m_buffers(std::move(buffers)) {}
  using BlockSums::take;
  void take(const View1<Accumulate<Real>>& gradient) override;

 private:
  std::vector<FixedPointGradients*> m_buffers;
};

}  // namespace elastic
