// SPDX-License-Identifier: Apache-2.0
// What the steps of the chunked scan share: where a chunk lies, which of its positions belong
// to one document, and the decay factors of one head. Internal to the kernels of this folder.
#pragma once
#include "base/shapes.hpp"
#include "kernels/products/block_product.hpp"
#include "kernels/scan/ssd_operands.hpp"
#include "kernels/rows/vector_exp.hpp"

namespace elastic::kernels {

/// ln(1 + exp(x)) without overflow or cancellation.
template <class T>
KOKKOS_INLINE_FUNCTION T softplus(T x) {
  return math::max(x, T(0)) + math::log1p(math::exp(-math::abs(x)));
}

/// Whether a state comes in before the first chunks, and the segment [B] of its last token.
struct SsdBefore {
  bool carried = false;
  View1<const token_t> segment = {};
};

/// Chunk k of sequence b, found from row = b*K + k.
struct Chunk {
  index_t row, k;         ///< b*K + k; k
  index_t first, tokens;  ///< row of its first token in [T, *]; n <= Q
  bool is_last;           ///< of its sequence
  bool continues;         ///< its first token belongs to the document of the token before it

  KOKKOS_INLINE_FUNCTION Chunk(const SsdShape& shape, const View1<const token_t>& segment,
                               index_t chunk_row, const SsdBefore& before = {}) {
    const index_t num_chunks = (shape.seq_length + shape.chunk_size - 1) / shape.chunk_size;
    row = chunk_row;
    k = row % num_chunks;
    first = row / num_chunks * shape.seq_length + k * shape.chunk_size;
    tokens = math::min(shape.chunk_size, shape.seq_length - k * shape.chunk_size);
    is_last = k == num_chunks - 1;
    if (k > 0)
      continues = segment.extent(0) == 0 || segment(first) == segment(first - 1);
    else
      continues = before.carried &&
                  (segment.extent(0) == 0 || segment(first) == before.segment(row / num_chunks));
  }
};

/// Decays below exp(smallest_exponent) count as zero. Beside the term of the position itself,
/// with decay 1, they are far below rounding, and products with them would be denormal numbers,
/// which cost a hundred times as much.
template <class T>
inline constexpr T smallest_exponent = std::is_same_v<T, float> ? T(-60) : T(-600);

/// Delta_t A of one position as it counts in sums of a chunk: at least twice smallest_exponent.
/// Whatever spans such a position is zero in any case, and the sums stay finite for any rate A.
template <class T>
KOKKOS_INLINE_FUNCTION T step_exponent(T delta, T rate) {
  return math::max(delta * rate, 2 * smallest_exponent<T>);
}
/// exp(exponent), or zero below smallest_exponent.
template <class T>
KOKKOS_INLINE_FUNCTION T decay_of(T exponent) {
  return exponent < smallest_exponent<T> ? T(0) : vector_exp(exponent);
}

/// A sum in two words, high + low, with |low| below an ulp of high: twice the digits of T.
/// Decays are exponentials of differences of such sums, (high_i - high_j) + (low_i - low_j), which
/// keep all digits of T however large the sums are.
template <class T>
struct TwoWords {
  T high = 0, low = 0;

  /// Error-free addition (Knuth, The Art of Computer Programming 2, 4.2.2, theorem B).
  KOKKOS_INLINE_FUNCTION void add(T x) {
    const T sum = high + x, part = sum - high, error = (high - (sum - part)) + (x - part),
            rest = low + error;
    high = sum + rest;
    low = rest - (high - sum);
  }
};

/// begin[i]: first position in the chunk of the run of equal segment ids that position i belongs
/// to; end[i]: one past its last.
KOKKOS_INLINE_FUNCTION void find_runs(const Team& team, const Chunk& chunk,
                                      const View1<const token_t>& segment, int* begin, int* end) {
  const int n = static_cast<int>(chunk.tokens);
  const token_t* id = segment.data() + (segment.extent(0) == 0 ? 0 : chunk.first);
  const bool one_run = segment.extent(0) == 0;
  Kokkos::single(Kokkos::PerTeam(team), [&]() {
    for (int i = 0; i < n; ++i)
      begin[i] = i > 0 && (one_run || id[i] == id[i - 1]) ? begin[i - 1] : i;
    for (int i = n - 1; i >= 0; --i)
      end[i] = i + 1 < n && (one_run || id[i] == id[i + 1]) ? end[i + 1] : i + 1;
  });
  team.team_barrier();
}

/// Vectors over the positions of a chunk for one head; zero from n up to the padding.
template <class T>
struct HeadDecays {
  T *delta, *cumsum, *cumsum_low;  ///< Delta_i; two words of the sum of Delta A up to i
  /// exp(cumsum_i) where position i sees the state at the beginning of the chunk, else 0.
  T* from_start;
  T* to_end;  ///< exp(cumsum_last - cumsum_i) where position i reaches the end of the chunk, else 0

  KOKKOS_INLINE_FUNCTION HeadDecays(ScratchCarver& carver, index_t count)
      : delta(carver.take<T>(padded(count))),
        cumsum(carver.take<T>(padded(count))),
        cumsum_low(carver.take<T>(padded(count))),
        from_start(carver.take<T>(padded(count))),
        to_end(carver.take<T>(padded(count))) {}

  KOKKOS_INLINE_FUNCTION void load(const Team& team, const Chunk& chunk, const int* begin,
                                   const View2<const T>& dt, const View2<const T>& dA_cumsum,
                                   index_t head) const {
    const index_t n = chunk.tokens, heads = static_cast<index_t>(dt.extent(1));
    for_each_row(team, padded(n), [&](const index_t i) {
      cumsum[i] = i < n ? dA_cumsum(chunk.first + i, head) : T(0);
      cumsum_low[i] = i < n ? dA_cumsum(chunk.first + i, heads + head) : T(0);
      delta[i] = i < n ? dt(chunk.first + i, head) : T(0);
    });
    const T last = cumsum[n - 1], last_low = cumsum_low[n - 1];
    const int count = static_cast<int>(n), starts = chunk.continues ? 0 : -1,
              last_begin = begin[n - 1];
    for_each_block(team, 1, n, [&](index_t, const index_t block) {
      ELASTIC_SIMD
      for (int l = 0; l < static_cast<int>(lanes); ++l) {
        const int i = static_cast<int>(block) + l;
        const T sum = cumsum[i], left = (last - sum) + (last_low - cumsum_low[i]);
        const bool sees = i < count && begin[i] == starts && sum >= smallest_exponent<T>;
        const bool reaches = i < count && i >= last_begin && left >= smallest_exponent<T>;
        from_start[i] = sees ? vector_exp(sum) : T(0);
        to_end[i] = reaches ? vector_exp(left) : T(0);
      }
    });
  }
};

/// Runs `kernel` with one team for each chunk and group, and team scratch for its Kernel::Scratch.
/// Fills in kernel.rows (the positions of a full chunk), kernel.bytes and kernel.level.
template <class Kernel>
void launch_chunk_groups(const char* label, const ExecutionSpace& exec, const SsdShape& shape,
                         Kernel kernel) {
  kernel.rows = math::min(shape.chunk_size, shape.seq_length);
  ScratchCarver counter(nullptr);
  typename Kernel::Scratch(counter, shape, kernel.rows);
  kernel.bytes = counter.bytes();
  kernel.level = scratch_level(kernel.bytes);
  const auto teams = static_cast<int>(shape.batch * shape.num_chunks() * shape.num_groups);
  Kokkos::TeamPolicy<ExecutionSpace> policy(exec, teams, Kokkos::AUTO);
  policy.set_scratch_size(kernel.level, Kokkos::PerTeam(static_cast<int>(kernel.bytes + 64)));
  Kokkos::parallel_for(label, policy, kernel);
}

/// Throws ContractError unless the extents make sense together.
void require_ssd_shape(const char* function, const SsdShape& shape);
/// What kernels need of in.incoming; throws ContractError unless its shapes fit.
template <class T>
SsdBefore checked_before(const char* function, const SsdShape& shape, const SsdInputs<T>& in) {
  if (in.incoming.state.extent(0) == 0) return {};
  require_shape(function, "incoming state", in.incoming.state, shape.batch * shape.num_heads,
                shape.head_dim * shape.state_dim);
  require_shape(function, "segment of the incoming state", in.incoming.segment,
                in.segment.extent(0) == 0 ? 0 : shape.batch);
  return {true, in.incoming.segment};
}

}  // namespace elastic::kernels
