// SPDX-License-Identifier: Apache-2.0
#include "kernels/embedding.hpp"

#include "kernels/row_loops.hpp"

namespace elastic::kernels {

template <class S>
void embedding_forward(const ExecutionSpace& exec, In1<token_t> tokens, In2<S> weight,
                       InOut2<S> y) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(weight.extent(1));
  require_shape("embedding_forward", "y", y, count, width);
  for_row_pieces(
      exec, "elastic::embedding_forward", count, width,
      KOKKOS_LAMBDA(const index_t t, const index_t begin, const index_t end) {
        const S* from = &weight(tokens(t), 0);
        S* to = &y(t, 0);
        ELASTIC_SIMD
        for (index_t j = begin; j < end; ++j) to[j] = from[j];
      });
}

template <class S>
void embedding_backward(const ExecutionSpace& exec, In1<token_t> tokens, In2<S> dy,
                        InOut2<S> dweight) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(dweight.extent(1));
  require_shape("embedding_backward", "dy", dy, count, width);
  // Pieces of columns, each walking all tokens: two tokens that are the same word never meet in two
  // threads.
  for_column_pieces(
      exec, "elastic::embedding_backward", width,
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        for (index_t t = 0; t < count; ++t) {
          const S* from = &dy(t, 0);
          S* to = &dweight(tokens(t), 0);
          ELASTIC_SIMD
          for (index_t j = begin; j < end; ++j) to[j] += from[j];
        }
      });
}

template void embedding_forward<float>(const ExecutionSpace&, In1<token_t>, In2<float>,
                                       InOut2<float>);
template void embedding_forward<double>(const ExecutionSpace&, In1<token_t>, In2<double>,
                                        InOut2<double>);
template void embedding_backward<float>(const ExecutionSpace&, In1<token_t>, In2<float>,
                                        InOut2<float>);
template void embedding_backward<double>(const ExecutionSpace&, In1<token_t>, In2<double>,
                                         InOut2<double>);

}  // namespace elastic::kernels
