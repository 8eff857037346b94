// SPDX-License-Identifier: Apache-2.0
#include "train/finite_values.hpp"

#include <algorithm>
#include <cmath>

#include "comm/collectives.hpp"
#include "kernels/update/global_norm.hpp"
#include "optim/flat_slices.hpp"

namespace elastic {
namespace {

template <class V>
bool has_bad_number(const V& view) {
  const auto h_view = Kokkos::create_mirror_view_and_copy(HostSpace(), view);
  for (std::size_t i = 0; i < h_view.size(); ++i)
    if (!std::isfinite(static_cast<double>(h_view.data()[i]))) return true;
  return false;
}

/// The name of the first tensor for which is_bad(tensor) holds on any rank.
template <class T, class IsBad>
std::string first_bad(const Communicator& world, const ParameterStore<T>& store,
                      const IsBad& is_bad) {
  index_t k = 0;
  while (k < store.size() && !is_bad(store[k])) ++k;
  k = all_reduce_min(world, k);
  return k < store.size() ? store[k].info.name : "";
}

}  // namespace

template <class T>
bool values_are_finite(const ExecutionSpace& exec, Arena& arena, const ParameterStore<T>& store,
                       const std::vector<Range>& owned) {
  std::vector<View1<const T>> parts;
  for (const Range& range : owned) parts.push_back(Kokkos::subview(store.values(), range));
  const Arena::Scope scope(arena);
  const auto num_exact = static_cast<index_t>(store.exact_values().extent(0));
  const auto workspace = arena.vector<double>(kernels::norm_workspace(
      std::max(total_length(owned), num_exact), static_cast<index_t>(parts.size()) + 1));
  const double largest = kernels::largest_square<T>(exec, parts, workspace);
  const double exact =
      kernels::largest_square<Accumulate<T>>(exec, {store.exact_values()}, workspace);
  return std::isfinite(largest) && std::isfinite(exact);
}

template <class T>
std::string first_bad_value(const Communicator& world, const ParameterStore<T>& store) {
  return first_bad(world, store, [](const Parameter<T>& tensor) {
    return with_values(tensor, [](const auto& view) { return has_bad_number(view); });
  });
}

template <class T>
std::string first_bad_gradient(const Communicator& world, const ParameterStore<T>& store) {
  return first_bad(world, store, [](const Parameter<T>& tensor) {
    return has_bad_number(tensor.gradient_vector());
  });
}

#define ELASTIC_INSTANTIATE(T)                                                                \
  template bool values_are_finite<T>(const ExecutionSpace&, Arena&, const ParameterStore<T>&, \
                                     const std::vector<Range>&);                              \
  template std::string first_bad_value<T>(const Communicator&, const ParameterStore<T>&);     \
  template std::string first_bad_gradient<T>(const Communicator&, const ParameterStore<T>&);
ELASTIC_INSTANTIATE(float)
ELASTIC_INSTANTIATE(bfloat16)
#undef ELASTIC_INSTANTIATE

}  // namespace elastic
