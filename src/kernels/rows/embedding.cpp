// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/embedding.hpp"

#include <cstring>

#include "kernels/rows/pack.hpp"

namespace elastic::kernels {
namespace {

constexpr index_t elsewhere = -1;
/// The row of a word among those of this rank.
KOKKOS_INLINE_FUNCTION index_t row_of_word(token_t word, const Shard& shard) {
  if (shard.size == 1) return word;
  return word % shard.size == shard.rank ? word / shard.size : elsewhere;
}

/// y_t = W[token_t], zero for the words of other ranks.
template <class T>
struct Rows {
  View1<const token_t> tokens;
  View2<const T> weight;
  View2<T> y;
  Shard shard;
  bool aligned;

  KOKKOS_FUNCTION void operator()(const index_t t, const index_t begin, const index_t end) const {
    const index_t row = row_of_word(tokens(t), shard);
    T* const to = &y(t, begin);
    const auto bytes = static_cast<std::size_t>(end - begin) * sizeof(T);
    if (row == elsewhere)
      std::memset(static_cast<void*>(to), 0, bytes);
    else
      std::memcpy(static_cast<void*>(to), &weight(row, begin), bytes);
  }
  /// A device's pack of row t.
  KOKKOS_FUNCTION void operator()(const index_t t, const index_t j, const int count) const {
    const index_t row = row_of_word(tokens(t), shard);
    Pack<Accumulate<T>> pack = {};
    if (row != elsewhere) pack = load_pack(&weight(row, j), count, aligned);
    store_pack(&y(t, j), pack, count, aligned);
  }
};

/// The backward on a host: every piece of columns walks all tokens, so that two tokens which are
/// one word never meet in two threads.
template <class T>
struct GradientPieces {
  View1<const token_t> tokens;
  View2<const T> dy;
  View2<Accumulate<T>> dweight;
  Shard shard;

  KOKKOS_FUNCTION void operator()(const index_t begin, const index_t end) const {
    const auto count = static_cast<index_t>(tokens.extent(0));
    for (index_t t = 0; t < count; ++t) {
      const index_t row = row_of_word(tokens(t), shard);
      if (row == elsewhere) continue;
      const T* from = &dy(t, 0);
      Accumulate<T>* to = &dweight(row, 0);
      ELASTIC_SIMD
      for (index_t j = begin; j < end; ++j) to[j] += widen(from[j]);
    }
  }
};

/// The backward on a device. A team has eight tokens. For those that are the first of their word it
/// adds up the gradients of all tokens that are this word, in rising order, and adds the sum to the
/// row of the word: no atomics, no workspace.
///
/// The team looks for its words among all tokens, a window of 1024 at a time, which pass through
/// scratch: T/8 times 4T bytes (33 MB from the second cache at T = 8192) beside the 10 T D bytes
/// that the gradients move (420 MB at D = 5120 in bfloat16).
template <class T>
struct WordTeams {
  using A = Accumulate<T>;
  static constexpr int words = row_threads, part = 32, parts = 32, window = part * parts;
  static constexpr index_t scratch_bytes =
      4 * parts * (part + 1) + 4 * words * parts + 2 * words * window + 8 * words;
  View1<const token_t> tokens;
  View2<const T> dy;
  View2<A> dweight;
  Shard shard;
  bool aligned;

  /// In scratch: a window of tokens with a gap after each part of 32, so that lanes which read
  /// different parts meet different banks; of each of the team's words its places in the window
  /// (a bit each), the list of those that count, and whether the word stood before.
  struct Scratch {
    token_t* tokens;
    std::uint32_t* places;
    std::uint16_t* list;
    int *length, *stood_before;

    KOKKOS_INLINE_FUNCTION explicit Scratch(char* memory)
        : tokens(reinterpret_cast<token_t*>(memory)),
          places(reinterpret_cast<std::uint32_t*>(tokens + parts * (part + 1))),
          list(reinterpret_cast<std::uint16_t*>(places + words * parts)),
          length(reinterpret_cast<int*>(list + words * window)),
          stood_before(length + words) {}
  };

  KOKKOS_FUNCTION void operator()(const Team& team) const {
    const Scratch scratch(static_cast<char*>(
        team.team_scratch(0).get_shmem_aligned(static_cast<std::size_t>(scratch_bytes), 64)));
    const auto count = static_cast<index_t>(tokens.extent(0));
    const index_t first = static_cast<index_t>(team.league_rank()) * words;
    Kokkos::parallel_for(Kokkos::TeamVectorRange(team, int(words)),
                         [&](const int w) { scratch.stood_before[w] = 0; });
    for (index_t begin = 0; begin < count; begin += window) {
      team.team_barrier();
      Kokkos::parallel_for(Kokkos::TeamVectorRange(team, part * parts), [&](const int i) {
        scratch.tokens[i / part * (part + 1) + i % part] =
            begin + i < count ? tokens(begin + i) : token_t(-1);
      });
      team.team_barrier();
      Kokkos::parallel_for(Kokkos::TeamVectorRange(team, words * parts), [&](const int i) {
        const token_t word = word_of(first + i / parts);
        std::uint32_t bits = 0;
        for (int k = 0; k < part; ++k)
          bits |= std::uint32_t(scratch.tokens[i % parts * (part + 1) + k] == word) << k;
        scratch.places[i] = bits;
      });
      team.team_barrier();
      Kokkos::parallel_for(Kokkos::TeamVectorRange(team, int(words)),
                           [&](const int w) { list_places(scratch, w, first + w, begin); });
      team.team_barrier();
      for (int w = 0; w < words; ++w)
        if (scratch.length[w] > 0)
          add_rows(team, row_of_word(word_of(first + w), shard), begin, scratch.list + w * window,
                   scratch.length[w]);
    }
  }

 private:
  /// The word of token t; one that does not exist where t does not or the word is elsewhere.
  KOKKOS_INLINE_FUNCTION token_t word_of(index_t t) const {
    constexpr token_t none = -2;
    if (t >= static_cast<index_t>(tokens.extent(0))) return none;
    return row_of_word(tokens(t), shard) == elsewhere ? none : tokens(t);
  }
  /// Lists the places of word w from token t on, if it does not stand before t.
  KOKKOS_INLINE_FUNCTION void list_places(const Scratch& scratch, int w, index_t t,
                                          index_t begin) const {
    int length = 0;
    for (int p = 0; p < parts; ++p) {
      const std::uint32_t bits = scratch.places[w * parts + p];
      if (bits == 0 || scratch.stood_before[w] != 0) continue;
      for (int k = 0; k < part; ++k) {
        if ((bits >> k & 1u) == 0) continue;
        if (begin + p * part + k < t)
          scratch.stood_before[w] = 1;
        else
          scratch.list[w * window + length++] = static_cast<std::uint16_t>(p * part + k);
      }
    }
    scratch.length[w] = scratch.stood_before[w] != 0 ? 0 : length;
  }
  /// dweight_row += the gradients of the listed tokens; each lane of the team has packs of columns.
  KOKKOS_INLINE_FUNCTION void add_rows(const Team& team, index_t row, index_t begin,
                                       const std::uint16_t* list, int length) const {
    for_row_packs(team, static_cast<index_t>(dweight.extent(1)), [&](index_t j, int count) {
      Pack<A> sum = load_pack(&dweight(row, j), count, aligned);
      for (int i = 0; i < length; ++i) {
        const Pack<A> term = load_pack(&dy(begin + list[i], j), count, aligned);
        for (int k = 0; k < pack_size; ++k) sum[k] += term[k];
      }
      store_pack(&dweight(row, j), sum, count, aligned);
    });
  }
};

template <class T>
void for_word_teams(const ExecutionSpace& exec, const char* label, const WordTeams<T>& kernel) {
  constexpr int words = WordTeams<T>::words;
  const auto count = static_cast<index_t>(kernel.tokens.extent(0));
  if (count == 0) return;
  auto policy = device_teams(exec, (count + words - 1) / words, row_threads);
  policy.set_scratch_size(0, Kokkos::PerTeam(static_cast<int>(WordTeams<T>::scratch_bytes + 64)));
  Kokkos::parallel_for(label, policy, kernel);
}

}  // namespace

template <class T>
void embedding_forward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> weight, InOut2<T> y,
                       const Shard& shard) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(weight.extent(1));
  require_shape("embedding_forward", "y", y, count, width);
  const char* label = "elastic::embedding_forward";
  const Rows<T> rows{tokens, weight, y, shard, packs_are_aligned(weight, y)};
  if constexpr (on_host)
    for_row_pieces(exec, label, count, width, rows);
  else
    for_packs(exec, label, count, width, rows);
}

template <class T>
void embedding_backward(const ExecutionSpace& exec, In1<token_t> tokens, In2<T> dy,
                        InOut2<Accumulate<T>> dweight, const Shard& shard) {
  const auto count = static_cast<index_t>(tokens.extent(0)),
             width = static_cast<index_t>(dweight.extent(1));
  require_shape("embedding_backward", "dy", dy, count, width);
  const char* label = "elastic::embedding_backward";
  if constexpr (on_host)
    for_column_pieces(exec, label, width, GradientPieces<T>{tokens, dy, dweight, shard});
  else
    for_word_teams(exec, label,
                   WordTeams<T>{tokens, dy, dweight, shard, packs_are_aligned(dy, dweight)});
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
