// SPDX-License-Identifier: Apache-2.0
// Gradients of several ranks against their sum in double: each rank gets the elements whose
// optimizer state it owns, in deterministic mode with the same bits for every layout.
#include "train/gradient_sum.hpp"

#include "comm/collectives.hpp"
#include "unit_tests/optim/optim_support.hpp"

namespace elastic::test {
namespace {

constexpr int micro_batches = 4;

std::vector<float> gradient_of(int micro_batch, index_t count) {
  return random_values<float>(count, 100 + static_cast<std::uint32_t>(micro_batch), -2, 2);
}
std::vector<double> sum_of_all(index_t count) {
  std::vector<double> sum(static_cast<std::size_t>(count), 0.0);
  for (int m = 0; m < micro_batches; ++m) {
    const auto gradient = gradient_of(m, count);
    for (index_t i = 0; i < count; ++i) sum[i] += gradient[i];
  }
  return sum;
}

/// Micro-batch m on rank m % ranks; the owned elements after finish(), others NaN.
std::vector<float> summed(const ProcessGrid& grid, const ParameterStore<float>& store,
                          GradientSum& sum) {
  const index_t count = store.num_elements();
  const FlatSlices slices = optimizer_slices(store, grid.data_context.size());
  sum.begin();
  auto mine = std::vector<float>(static_cast<std::size_t>(count), 0.0f);
  for (int m = grid.data.rank(); m < micro_batches; m += grid.data.size()) {
    const auto gradient = gradient_of(m, count);
    if (sum.fixed_point()) {
      assign(store.gradients(), gradient);
      sum.end_block();
      continue;
    }
    for (index_t i = 0; i < count; ++i) mine[i] += gradient[i];
    assign(store.gradients(), mine);
  }
  sum.complete_from(count / 2);
  EXPECT_TRUE(sum.finish());
  const auto all = to_host(store.gradients());
  std::vector<float> owned(all.size(), std::numeric_limits<float>::quiet_NaN());
  for (const auto& range : slices.of(grid.data_context.rank()))
    std::copy(all.begin() + range.first, all.begin() + range.second, owned.begin() + range.first);
  return owned;
}

void check(bool deterministic) {
  const auto store = mixed_store<float>();
  const index_t count = store.num_elements();
  on_groups(deterministic, [&](const Communicator& group) {
    const ProcessGrid grid(group, {});
    GradientSum sum(grid, store, optimizer_slices(store, group.size()), deterministic, false);
    EXPECT_TRUE(sum.is_of(store.gradients()));
    EXPECT_FALSE(sum.is_of(mixed_store<float>().gradients()));
    EXPECT_EQ(sum.fixed_point() != nullptr, deterministic);
    const auto expected = sum_of_all(count);
    for (int step = 0; step < 2; ++step) {  // the second starts at zero again
      const auto owned = summed(grid, store, sum);
      index_t held = 0;
      for (index_t i = 0; i < count; ++i) {
        if (std::isnan(owned[i])) continue;
        ++held;
        EXPECT_NEAR(owned[i], expected[i], tolerance<float>(micro_batches) * 8);
      }
      std::vector<index_t> total = {held};
      all_reduce_sum(group, total);
      EXPECT_EQ(total[0], count) << "every element has one owner";
      if (!deterministic) continue;
      const Communicator self = Communicator::self();
      const ProcessGrid alone(self, {});
      GradientSum whole(alone, store, optimizer_slices(store, 1), true, false);
      const auto one_rank = summed(alone, store, whole);
      for (index_t i = 0; i < count; ++i)
        if (!std::isnan(owned[i])) {
          EXPECT_EQ(owned[i], one_rank[i]) << "bits of element " << i;
        }
    }
  });
}

TEST(GradientSum, AddsTheMicroBatchesOfAllReplicas) { check(false); }
TEST(GradientSum, DeterministicSumsAreThoseOfOneRank) { check(true); }

TEST(GradientSum, OverflowOnOneRankIsKnownToAll) {
  const auto store = mixed_store<float>();
  on_groups(true, [&](const Communicator& group) {
    const ProcessGrid grid(group, {});
    GradientSum sum(grid, store, optimizer_slices(store, group.size()), true, false);
    sum.begin();
    Kokkos::deep_copy(store.gradients(), 1.0f);
    if (grid.world.rank() == grid.world.size() - 1)
      Kokkos::deep_copy(store.gradients(), std::numeric_limits<float>::infinity());
    sum.end_block();
    EXPECT_FALSE(sum.finish());
    sum.begin();  // and forgotten in the next step
    Kokkos::deep_copy(store.gradients(), 1.0f);
    sum.end_block();
    EXPECT_TRUE(sum.finish());
  });
}

TEST(GradientSum, TokensOfATensorGroupAreAddedWhereNoUnitsAreDealtOut) {
  // With sequence parallelism each rank of a tensor group saw its own tokens: norms, which every
  // rank holds, need the sum over the group; tensors that are dealt out saw all tokens.
  const auto world = Communicator::world();
  const ProcessGrid grid(world, {.tensor = world.size()});
  for (const bool deterministic : {false, true})
    for (const bool tokens_shared_out : {false, true}) {
      ParameterStore<float> store({grid.tensor.rank(), grid.tensor.size()});
      store.add({.name = "norm", .columns = 6, .vector = true});
      store.add({.name = "up", .rows = 12, .columns = 2, .row_unit = 1});
      store.add({.name = "norm2", .columns = 3, .vector = true});
      store.allocate(true);
      GradientSum sum(grid, store, optimizer_slices(store, 1), deterministic, tokens_shared_out);
      sum.begin();
      Kokkos::deep_copy(store.gradients(), 1.0f + static_cast<float>(world.rank()));
      if (deterministic) sum.end_block();
      EXPECT_TRUE(sum.finish());
      const float own = 1.0f + static_cast<float>(world.rank());
      const float all = static_cast<float>(world.size() * (world.size() + 1)) / 2;
      for (const auto& p : store)
        for (const float g : to_host(p.gradient_vector()))
          EXPECT_EQ(g, tokens_shared_out && !p.info.sharded() ? all : own) << p.info.name;
    }
}

}  // namespace
}  // namespace elastic::test
