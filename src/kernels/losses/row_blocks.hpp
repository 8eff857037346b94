// SPDX-License-Identifier: Apache-2.0
// Rows of logits on a host: loops of one thread over blocks of 128 columns, by whole vector
// registers. A block is widened first, computed in fp32 and rounded last, each in a loop of its
// own, for a loop that mixes numbers of 16 and of 32 bits fills half a register. All blocks take
// equal instructions, the last one on padded copies, so that no bit depends on where in a row a
// column stands.
#pragma once
#include "kernels/whole_vectors.hpp"
#include "kernels/read_ahead.hpp"
#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {

/// Columns that are treated at a time, and neighbours that add to different chains of a sum.
constexpr index_t column_block = 128, chain_block = 16;

/// The first `count` <= column_block of some columns, widened; zeros follow.
template <class T>
struct WideBlock {
  alignas(64) Accumulate<T> wide[column_block];
  const Accumulate<T>* values = wide;

  WideBlock(const T* row, index_t count) {
    if (count < column_block) {
      for (index_t l = 0; l < column_block; ++l) wide[l] = l < count ? widen(row[l]) : 0;
    } else if constexpr (std::is_same_v<T, Accumulate<T>>) {
      values = row;
    } else {
      ELASTIC_SIMD
      for (index_t l = 0; l < column_block; ++l) wide[l] = widen(row[l]);
    }
  }
};

/// target_v = f(row_v...) for all columns, of widened values; the target may be one of the rows.
template <class F, class U, class... T>
ELASTIC_WHOLE_VECTORS void transform_blocks(index_t columns, const F& f_, U* target,
                                            const T*... row) {
  const F f = f_;
  const auto block = [&](index_t v, index_t count, const Accumulate<T>*... z) {
    alignas(64) Accumulate<U> wide[column_block];
    const bool in_place = std::is_same_v<U, Accumulate<U>> && count == column_block;
    Accumulate<U>* const value = in_place ? reinterpret_cast<Accumulate<U>*>(target + v) : wide;
    ELASTIC_SIMD
    for (index_t l = 0; l < column_block; ++l) value[l] = f(z[l]...);
    if (in_place) return;
    if (count < column_block) {
      for (index_t l = 0; l < count; ++l) store_rounded(target[v + l], wide[l]);
      return;
    }
    ELASTIC_SIMD
    for (index_t l = 0; l < column_block; ++l) store_rounded(target[v + l], wide[l]);
  };
  for (index_t v = 0; v < columns; v += column_block) {
    const index_t count = math::min(column_block, columns - v);
    block(v, count, WideBlock<T>(row + v, count).values...);
  }
}

/// term(chain, counts, row_v...) for all columns, of widened values; column v adds to chain
/// v mod (mask + 1), and nothing if `counts` is false (padding).
template <class A, class Term, class... T>
ELASTIC_WHOLE_VECTORS void add_chains(index_t columns, const Term& term_, A* chains, index_t mask,
                                      const T*... row) {
  const Term term = term_;
  const auto block = [&](int count, const Accumulate<T>*... z) {
    for (int begin = 0; begin < static_cast<int>(column_block); begin += chain_block) {
      A* const chain = chains + (begin & mask);
      ELASTIC_SIMD
      for (int l = 0; l < static_cast<int>(chain_block); ++l)
        term(chain + l, begin + l < count, z[begin + l]...);
    }
  };
  for (index_t v = 0; v < columns; v += column_block) {
    const index_t count = math::min(column_block, columns - v);
    block(static_cast<int>(count), WideBlock<T>(row + v, count).values...);
  }
}

/// The largest of some columns and `best`. NaN is passed over.
template <class T>
ELASTIC_WHOLE_VECTORS Accumulate<T> largest_of(const T* row, index_t columns, Accumulate<T> best) {
  for (index_t begin = 0; begin < columns; begin += column_block) {
    const index_t end = math::min(columns, begin + column_block);
    read_ahead(row + begin, column_block * static_cast<index_t>(sizeof(T)));
    Accumulate<T> largest = best;
    ELASTIC_SIMD_MAX(largest)
    for (index_t v = begin; v < end; ++v)
      largest = largest < widen(row[v]) ? widen(row[v]) : largest;
    best = largest;
  }
  return best;
}

}  // namespace elastic::kernels
