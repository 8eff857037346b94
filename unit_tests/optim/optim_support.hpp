// SPDX-License-Identifier: Apache-2.0
// Stores and groups of ranks for the tests of optim.
#pragma once
#include "base/parameter.hpp"
#include "comm/communicator.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {

/// Tensors with and without decay; one of them empty, one exact.
template <class T>
ParameterStore<T> mixed_store() {
  ParameterStore<T> store;
  store.add({.name = "embedding", .rows = 11, .columns = 5, .layer = -1});
  store.add({.name = "norm", .columns = 7, .layer = 0, .weight_decay = false, .vector = true});
  store.add({.name = "up", .rows = 9, .columns = 7, .layer = 0});
  store.add({.name = "nothing", .columns = 0, .layer = 0});
  store.add({.name = "A_log",
             .columns = 3,
             .layer = 1,
             .weight_decay = false,
             .vector = true,
             .exact = true});
  store.add({.name = "down", .rows = 4, .columns = 9, .layer = 1});
  store.allocate(true);
  return store;
}

/// Random values; those of exact tensors are no numbers of T.
template <class T>
void assign_values(const ParameterStore<T>& store, std::uint32_t seed) {
  for (const auto& p : store) {
    const auto values = random_values<Accumulate<T>>(p.size(), seed + 1000 * p.offset);
    set_values(p, values.data());
  }
}
/// All values of a store, those of exact tensors behind the others.
template <class T>
std::vector<double> all_values(const ParameterStore<T>& store) {
  auto values = to_double(store.values());
  for (const double x : to_double(store.exact_values())) values.push_back(x);
  return values;
}

/// body(group) on the members of the groups of the first 1, 2, ... ranks.
template <class Body>
void on_groups(bool deterministic, const Body& body) {
  auto world = Communicator::world();
  world.set_deterministic(deterministic);
  for (int size = 1; size <= world.size(); ++size) {
    const auto group = world.split(world.rank() < size ? 0 : 1);
    if (world.rank() < size) body(group);
  }
}

}  // namespace elastic::test
