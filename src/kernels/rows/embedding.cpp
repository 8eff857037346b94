// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/embedding.hpp"

#include "kernels/rows/row_loops.hpp"

namespace elastic::kernels {
namespace {
constexpr index_t elsewhere = -1;
/// The row of a word among those of this rank.
KOKKOS_INLINE_FUNCTION index_t row_of_word(token_t word, const Shard& shard) {
  if (shard.size == 1) return word;
  return word % shard.size == shard.rank ? word / shard.size : elsewhere;
}
}  // namespace

template <class T>
void embedding_forward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> weight, InOut2<T> y,
                       const Shard& shard) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(weight.extent(1));
  require_shape("embedding_forward", "y", y, count, width);
  for_row_pieces(
      exec, "elastic::embedding_forward", count, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        const index_t row = row_of_word(tokens(t), shard);
        T* to = &y(t, 0);
        if (row == elsewhere) {
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) store_rounded(to[j], Accumulate<T>(0));
        } else {
          const T* from = &weight(row, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) store_rounded(to[j], widen(from[j]));
        }
      });
}

template <class T>
void embedding_backward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> dy,
                        InOut2<Accumulate<T>> dweight, const Shard& shard) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(dweight.extent(1));
  require_shape("embedding_backward", "dy", dy, count, width);
  // Every piece of columns walks all tokens:
  // two tokens that are one word never meet in two threads.
  for_column_pieces(
      exec, "elastic::embedding_backward", width,
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        for (index_t t = 0; t < count; ++t) {
          const index_t row = row_of_word(tokens(t), shard);
          if (row == elsewhere) continue;
          const T* from = &dy(t, 0);
          Accumulate<T>* to = &dweight(row, 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) to[j] += widen(from[j]);
        }
      });
}

#define ELASTIC_INSTANTIATE(T)                                                               \
  template void embedding_forward<T>(const ExecutionSpace&, In1<token_t>, In2<T>, InOut2<T>, \
                                     const Shard&);                                          \
  template void embedding_backward<T>(const ExecutionSpace&, In1<token_t>, In2<T>,           \
                                      InOut2<Accumulate<T>>, const Shard&);
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic::kernels
