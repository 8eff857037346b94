// SPDX-License-Identifier: Apache-2.0
// What the chunked scan by batched products is made of: batches of chunks, factors of positions
// laid out head by head, loops of rows whose lanes are neighbours in memory, and the buffers
// between products and kernels. Internal to the kernels of this folder.
#pragma once
#include "kernels/products/gemm.hpp"
#include "kernels/scan/ssd_chunk.hpp"

namespace elastic::kernels {

/// `count` chunks of equal extents, with the heads of one group: what a product runs over at once.
/// Chunk c of them has row `row + c row_step` of all chunks and begins at token + c token_step.
struct ChunkBatch {
  index_t row = 0, row_step = 1, token = 0, token_step = 0, tokens = 0, count = 0, group = 0;

  KOKKOS_INLINE_FUNCTION index_t chunk_row(index_t c) const { return row + c * row_step; }
  KOKKOS_INLINE_FUNCTION index_t first_token(index_t c) const { return token + c * token_step; }
};

/// Extents of the buffers of a batch.
struct BatchExtents {
  index_t chunks, rows, group_heads, head_dim, state_dim;  ///< at most; Q' = min(Q, L); H/G; P; N
  explicit BatchExtents(const SsdShape& shape);

  index_t channels() const { return group_heads * head_dim; }
};

/// Calls body(batch) for batches that cover all chunks and groups: full chunks, and where the last
/// ones of the sequences are short, these. A batch has at most BatchExtents::chunks.
template <class F>
void for_each_batch(const SsdShape& shape, const F& body) {
  const index_t K = shape.num_chunks(), Q = shape.chunk_size, L = shape.seq_length, whole = L / Q,
                most = BatchExtents(shape).chunks;
  const auto in_blocks = [&](const ChunkBatch& part) {
    const index_t blocks = (part.count + most - 1) / most,
                  share = blocks == 0 ? 1 : (part.count + blocks - 1) / blocks;
    for (index_t g = 0; g < shape.num_groups; ++g)
      for (index_t c = 0; c < part.count; c += share)
        body(ChunkBatch{part.chunk_row(c), part.row_step, part.first_token(c), part.token_step,
                        part.tokens, math::min(share, part.count - c), g});
  };
  if (L % Q == 0) return in_blocks({0, 1, 0, Q, Q, shape.batch * K});
  for (index_t b = 0; b < shape.batch; ++b) in_blocks({b * K, 1, b * L, Q, Q, whole});
  in_blocks({K - 1, K, whole * Q, L, L - whole * Q, shape.batch});
}

/// Factors of all positions, [H, T] each: neighbours in memory are neighbours in a chunk.
template <class A>
struct HeadFactors {
  A *high, *low, *delta;   ///< two words of the sum of Delta A, and Delta
  A *from_start, *to_end;  ///< as in HeadDecays
  int* run;                ///< [T] number of documents that began in the chunk before a position
  index_t tokens;

  HeadFactors(ScratchCarver& carver, const SsdShape& shape)
      : high(carver.take<A>(shape.num_heads * shape.num_tokens())),
        low(carver.take<A>(shape.num_heads * shape.num_tokens())),
        delta(carver.take<A>(shape.num_heads * shape.num_tokens())),
        from_start(carver.take<A>(shape.num_heads * shape.num_tokens())),
        to_end(carver.take<A>(shape.num_heads * shape.num_tokens())),
        run(carver.take<int>(shape.num_tokens())),
        tokens(shape.num_tokens()) {}
};
/// Fills in factors from dt, dA_cumsum and the segments.
template <class T>
void spread_factors(const ExecutionSpace& exec, const SsdShape& shape, const SsdInputs<T>& in,
                    const SsdSaved<T>& saved, const SsdBefore& before,
                    const HeadFactors<Accumulate<T>>& factors);

/// Row `row` of (chunk of a batch, head of the group, item) or (chunk, item, head): divisions of 32
/// bits, which a device does several times as fast.
struct BatchRow {
  index_t chunk, head_of_group, item;
  KOKKOS_INLINE_FUNCTION static BatchRow by_head(index_t row, index_t heads, index_t items) {
    const auto of_chunks = split(row, items), of_heads = split(of_chunks.quotient, heads);
    return {of_heads.quotient, of_heads.rest, of_chunks.rest};
  }
  KOKKOS_INLINE_FUNCTION static BatchRow by_item(index_t row, index_t heads, index_t items) {
    const auto of_items = split(row, heads), of_chunks = split(of_items.quotient, items);
    return {of_chunks.quotient, of_items.rest, of_chunks.rest};
  }

 private:
  struct Split {
    index_t quotient, rest;
  };
  KOKKOS_INLINE_FUNCTION static Split split(index_t value, index_t by) {
    const auto v = static_cast<std::uint32_t>(value), d = static_cast<std::uint32_t>(by);
    return {static_cast<index_t>(v / d), static_cast<index_t>(v % d)};
  }
};

/// Calls kernel(team, row) for all rows, each by one of the `threads` threads of a team with its
/// lanes.
template <class Kernel>
struct RowsInTeams {
  Kernel kernel;
  index_t rows;
  int threads;
  KOKKOS_FUNCTION void operator()(const Team& team) const {
    Kokkos::parallel_for(Kokkos::TeamThreadRange(team, threads), [&](const index_t thread) {
      const index_t row = team.league_rank() * static_cast<index_t>(threads) + thread;
      if (row < rows) kernel(team, row);
    });
  }
};
template <class Kernel>
void for_rows_in_teams(const char* label, const ExecutionSpace& exec, index_t rows,
                       const Kernel& kernel, int threads = row_threads) {
  const index_t teams = (rows + threads - 1) / threads;
  Kokkos::parallel_for(label, device_teams(exec, teams, threads),
                       RowsInTeams<Kernel>{kernel, rows, threads});
}
/// f(i) for i < count, by the lanes of a thread.
template <class F>
KOKKOS_INLINE_FUNCTION void for_lanes(const Team& team, index_t count, const F& f) {
  Kokkos::parallel_for(Kokkos::ThreadVectorRange(team, count), f);
}
/// sum_{i < count} term(i), which all lanes of the thread get.
template <class A, class F>
KOKKOS_INLINE_FUNCTION A sum_of_lanes(const Team& team, index_t count, const F& term) {
  A sum = 0;
  Kokkos::parallel_reduce(
      Kokkos::ThreadVectorRange(team, count), [&](const index_t i, A& part) { part += term(i); },
      sum);
  return sum;
}

/// Rows first, first + step, ... of a matrix, `count` of them.
struct RowsOf {
  index_t first = 0, step = 1, count = 0;
};
/// total_h += the sum over some rows of parts [rows, H], what chunks contribute.
template <class A>
void add_chunk_sums(const char* label, const ExecutionSpace& exec, const View2<const A>& parts,
                    RowsOf rows, const View1<A>& total);

/// Matrix [rows, columns] in rows of ld elements from `data` on, and its like in a batch.
template <class T>
MatrixBatch<T> batch_of(T* data, index_t rows, index_t columns, index_t ld, BatchStride stride) {
  return {prefix(View2<T>(data, rows, ld), rows, columns), stride};
}
/// Columns [column, column + width) of the rows of a batch's chunks, in a matrix of all tokens;
/// `step` columns further for each head.
template <class T>
MatrixBatch<T> chunks_of(const View2<T>& all, const ChunkBatch& batch, index_t column,
                         index_t width, index_t step = 0) {
  return {Kokkos::subview(all, Range(batch.token, batch.token + batch.tokens),
                          Range(column, column + width)),
          {batch.token_step * leading_dimension(all), step}};
}
/// States [P, N] of a batch's chunks and heads in a matrix of all, [B*K*H, P*N].
template <class A>
MatrixBatch<A> states_of(const View2<A>& all, const SsdShape& shape, const ChunkBatch& batch) {
  const index_t size = shape.head_dim * shape.state_dim;
  A* const first =
      all.data() + (batch.row * shape.num_heads + batch.group) * leading_dimension(all);
  return {View2<A>(first, shape.head_dim, shape.state_dim),
          {batch.row_step * shape.num_heads * size, shape.num_groups * size}};
}

/// Throws ContractError unless the operands of a step have the extents of the shape.
template <class T>
void require_chunk_operands(const char* function, const SsdShape& shape, const SsdInputs<T>& in,
                            const SsdSaved<T>& saved) {
  require_ssd_shape(function, shape);
  const index_t tokens = shape.num_tokens(), heads = shape.num_heads,
                group_states = shape.num_groups * shape.state_dim;
  require_shape(function, "x", in.x, tokens, heads * shape.head_dim);
  require_shape(function, "ssm_B", in.ssm_B, tokens, group_states);
  require_shape(function, "dt", saved.dt, tokens, heads);
  require_shape(function, "dA_cumsum", saved.dA_cumsum, tokens, 2 * heads);
  require_shape_or_empty(function, "segment", in.segment, tokens);
  require_shape(function, "states", saved.states, shape.num_states(),
                shape.head_dim * shape.state_dim);
}
/// Throws ContractError unless `memory` has at least `size` elements; the first that is aligned.
template <class A>
void* aligned_memory(const char* function, const View1<A>& memory, index_t size) {
  ELASTIC_REQUIRE(static_cast<index_t>(memory.extent(0)) >= size,
                  "{}: workspace has {} of {} elements", function, memory.extent(0), size);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  return reinterpret_cast<void*>((address + 63) / 64 * 64);
}
/// Elements of A that hold what `Buffers` carves, wherever they begin.
template <class Buffers, class A>
index_t elements_of(const SsdShape& shape) {
  ScratchCarver counter(nullptr);
  Buffers(counter, shape);
  return (counter.bytes() + 64) / static_cast<index_t>(sizeof(A));
}

}  // namespace elastic::kernels
