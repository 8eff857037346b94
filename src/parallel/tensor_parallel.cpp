// SPDX-License-Identifier: Apache-2.0
#include "parallel/tensor_parallel.hpp"

#include <algorithm>

#include "base/region.hpp"
#include "comm/collectives.hpp"
#include "comm/split_collectives.hpp"
#include "kernels/rows/convert.hpp"

namespace elastic {

Range TensorParallel::my_tokens(index_t tokens) const {
  if (!m_sequence_parallel) return {0, tokens};
  const index_t rank = m_group->rank(), size = m_group->size();
  return {tokens * rank / size, tokens * (rank + 1) / size};
}

std::vector<Range> TensorParallel::my_blocks(index_t tokens, index_t blocks) const {
  const Range mine = my_tokens(tokens);
  std::vector<Range> rows;
  for (index_t i = 0; i < blocks; ++i) {
    const index_t begin = std::max(mine.first, tokens / blocks * i),
                  end = std::min(mine.second, tokens / blocks * (i + 1));
    if (begin < end) rows.emplace_back(begin - mine.first, end - mine.first);
  }
  return rows;
}

template <class T>
View2<T> TensorParallel::gather(Arena& arena, const View2<T>& mine, index_t tokens) const {
  if (!m_sequence_parallel) return mine;
  const Region region("tensor_parallel", Fenced::no);
  const auto all = arena.matrix<T>(tokens, mine.extent_int(1));
  all_gather_rows(*m_group, mine, all);
  return all;
}

template <class T>
View2<T> TensorParallel::add_up(Arena& arena, const View2<T>& partial, bool share_out) const {
  if (!group()) return partial;
  const Region region("tensor_parallel", Fenced::no);
  if (!share_out) {
    all_reduce_sum(*m_group, partial);
    return partial;
  }
  const auto mine = arena.matrix<T>(num_my_tokens(partial.extent_int(0)), partial.extent_int(1));
  reduce_scatter_rows(*m_group, partial, mine);
  return mine;
}

template <class T, class Part>
View2<T> TensorParallel::add_up_and_round(Arena& arena, const View2<Part>& partial,
                                          bool share_out) const {
  using Sum = Accumulate<T>;
  if constexpr (std::is_same_v<T, Sum>) {
    return add_up(arena, partial, share_out);
  } else {
    const ExecutionSpace exec;
    const index_t tokens = partial.extent_int(0), width = partial.extent_int(1);
    View2<T> result;
    if constexpr (std::is_same_v<Part, T>) {
      if (!group()) return partial;
      if (!share_out) result = partial;
    }
    if (result.size() == 0)
      result = arena.matrix<T>(share_out ? num_my_tokens(tokens) : tokens, width);
    const Arena::Scope scope(arena);
    View2<Sum> wide;
    if constexpr (std::is_same_v<Part, Sum>) {
      wide = partial;
    } else {
      wide = arena.matrix<Sum>(tokens, width);
      kernels::convert<Sum, T>(exec, partial, wide);
    }
    kernels::convert<T, Sum>(exec, add_up(arena, wide, share_out), result);
    return result;
  }
}

template <class T, class Part>
View2<T> TensorParallel::sum(Arena& arena, const View2<Part>& partial) const {
  return add_up_and_round<T>(arena, partial, m_sequence_parallel);
}

template <class T, class Part>
View2<T> TensorParallel::sum_all(Arena& arena, const View2<Part>& partial) const {
  return add_up_and_round<T>(arena, partial, false);
}

template <class T>
void TensorParallel::gather_equal(const View2<T>& mine, const View2<T>& all) const {
  const Region region("tensor_parallel", Fenced::no);
  all_gather_rows(*m_group, mine, all);
}

#define ELASTIC_INSTANTIATE_SUMS(T, Part)                                     \
  template View2<T> TensorParallel::sum<T>(Arena&, const View2<Part>&) const; \
  template View2<T> TensorParallel::sum_all<T>(Arena&, const View2<Part>&) const;
ELASTIC_INSTANTIATE_SUMS(bfloat16, bfloat16)
ELASTIC_INSTANTIATE_SUMS(bfloat16, float)
ELASTIC_INSTANTIATE_SUMS(float, float)
ELASTIC_INSTANTIATE_SUMS(double, double)
#undef ELASTIC_INSTANTIATE_SUMS
#define ELASTIC_INSTANTIATE(T)                                                         \
  template View2<T> TensorParallel::gather<T>(Arena&, const View2<T>&, index_t) const; \
  template void TensorParallel::gather_equal<T>(const View2<T>&, const View2<T>&) const;
ELASTIC_INSTANTIATE(bfloat16)
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(double)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
