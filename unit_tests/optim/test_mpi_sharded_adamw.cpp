// SPDX-License-Identifier: Apache-2.0
// The optimizer spread over ranks: the bits of the whole one, moments and masters for 1/ranks
// of the elements, gathered whole and taken up by another number of ranks.
#include "comm/collectives.hpp"
#include "optim/adamw.hpp"
#include "optim/grad_clip.hpp"
#include "optim/gradient_buckets.hpp"
#include "unit_tests/optim/optim_support.hpp"

namespace elastic::test {
namespace {

template <class T>
class ShardedAdamW : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(ShardedAdamW, Scalars);

const AdamWConfig config{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.3};

template <class T>
void set_gradients(const Communicator& comm, index_t step, const ParameterStore<T>& store) {
  assign(store.gradients(),
         random_values<Accumulate<T>>(store.num_elements(), 10 * step + comm.rank()));
}

/// One step as every rank does it for itself.
template <class T>
void whole_step(const Communicator& comm, index_t step, const ParameterStore<T>& store,
                AdamW<T>& optimizer) {
  set_gradients(comm, step, store);
  all_reduce_sum(comm, store.gradients());
  using A = Accumulate<T>;
  const std::vector<View1<const A>> mine{store.gradients()};
  const auto clip = clip_gradients<A>(
      ExecutionSpace(), comm, comm.is_root() ? mine : std::vector<View1<const A>>{}, 0.5, 0.1);
  optimizer.step(ExecutionSpace(), config, 0.05, step, clip.scale);
}
/// One step of the sharded optimizer.
template <class T>
void sharded_step(const Communicator& comm, const FlatSlices& slices, index_t step,
                  const ParameterStore<T>& store, AdamW<T>& optimizer) {
  set_gradients(comm, step, store);
  GradientBuckets<Accumulate<T>> buckets(comm, slices, store.gradients());
  buckets.finish();
  const auto clip = clip_gradients<Accumulate<T>>(
      ExecutionSpace(), comm, counted_gradients(store, optimizer.owned(), true), 0.5, 0.1);
  optimizer.step(ExecutionSpace(), config, 0.05, step, clip.scale);
  gather_values<T>(comm, slices, store);
}

TYPED_TEST(ShardedAdamW, GivesTheBitsOfTheWhole) {
  using T = TypeParam;
  for (const index_t bucket : {3, 50, 1000})
    on_groups(true, [&](const Communicator& group) {
      const auto whole = mixed_store<T>(), sharded = mixed_store<T>();
      const index_t n = whole.num_elements();
      for (const auto& store : {whole, sharded}) assign_values(store, 1);
      const FlatSlices slices(n, group.size(), bucket);
      AdamW<T> reference(whole), optimizer(sharded, slices.of(group.rank()));
      EXPECT_EQ(optimizer.first_moments().extent(0), total_length(slices.of(group.rank())));
      EXPECT_EQ(optimizer.masters().extent(0),
                has_masters<T> ? optimizer.first_moments().extent(0) : 0);
      EXPECT_LE(static_cast<index_t>(optimizer.second_moments().extent(0)),
                n / group.size() + slices.num_buckets());
      for (index_t step = 1; step <= 4; ++step) {
        whole_step(group, step, whole, reference);
        sharded_step(group, slices, step, sharded, optimizer);
        EXPECT_TRUE(bitwise_equal(whole.values(), sharded.values()));
        EXPECT_TRUE(bitwise_equal(whole.exact_values(), sharded.exact_values()));
      }
      for (const auto& p : whole)
        for (const Moment which : {Moment::first, Moment::second}) {
          const auto gathered = optimizer.gather_moment(group, which, p.info.name);
          if (!group.is_root()) continue;
          const auto expected =
              to_host(which == Moment::first ? reference.first_moment(p.info.name)
                                             : reference.second_moment(p.info.name));
          EXPECT_TRUE(bitwise_equal(gathered, expected)) << p.info.name;
        }
      const auto self = Communicator::self();
      for (const auto& p : whole) {
        const auto gathered = optimizer.gather_masters(group, p.info.name);
        if (group.is_root())
          EXPECT_TRUE(bitwise_equal(gathered, reference.gather_masters(self, p.info.name)));
        else
          EXPECT_TRUE(gathered.empty());
      }
    });
}

TYPED_TEST(ShardedAdamW, ContinuesOnAnotherNumberOfRanks) {
  using T = TypeParam;
  auto world = Communicator::world();
  world.set_deterministic(true);
  const auto self = [] {
    auto comm = Communicator::self();
    comm.set_deterministic(true);
    return comm;
  }();
  // Two steps on one rank each, alike on all;
  // then one on all ranks and one on one, with equal gradients.
  const auto one = mixed_store<T>(), all = mixed_store<T>();
  const index_t n = one.num_elements();
  assign_values(one, 1);
  AdamW<T> before(one);
  for (const index_t step : {1, 2}) whole_step(self, step, one, before);
  const FlatSlices slices(n, world.size(), 40);
  AdamW<T> after(all, slices.of(world.rank()));
  for (const auto& p : one)
    after.set_masters(p.info.name, before.gather_masters(self, p.info.name).data());
  ASSERT_EQ(all_values(all), all_values(one));
  for (const auto& p : one)
    for (const Moment which : {Moment::first, Moment::second}) {
      const auto moment = before.gather_moment(self, which, p.info.name);
      ASSERT_EQ(static_cast<index_t>(moment.size()), p.size());
      after.set_moment(which, p.info.name, moment.data());
    }
  for (const auto& store : {one, all})
    assign(store.gradients(), random_values<Accumulate<T>>(n, 77));
  before.step(ExecutionSpace(), config, 0.05, 3);
  after.step(ExecutionSpace(), config, 0.05, 3);
  gather_values<T>(world, slices, all);
  EXPECT_TRUE(bitwise_equal(all.values(), one.values()));
  EXPECT_TRUE(bitwise_equal(all.exact_values(), one.exact_values()));
  for (const auto& p : one) {
    const auto gathered = after.gather_masters(world, p.info.name);
    if (!world.is_root()) continue;
    EXPECT_TRUE(bitwise_equal(gathered, before.gather_masters(self, p.info.name)));
  }
}

TEST(ShardedAdamWMoments, AreNotViewsWhereOthersOwnAPart) {
  const auto store = mixed_store<float>();  // "embedding" is [0, 55), "norm" [55, 62)
  const AdamW<float> optimizer(store, {{3, 10}, {50, 62}});
  EXPECT_THROW(optimizer.first_moment("embedding"), ContractError);
  EXPECT_THROW(optimizer.second_moment("up"), ContractError);
  EXPECT_EQ(optimizer.first_moment("norm").data(), optimizer.first_moments().data() + 12);
  EXPECT_EQ(optimizer.first_moment("nothing").size(), 0u);
  EXPECT_THROW(AdamW<float>(store, {{3, 10}, {9, 12}}), ContractError);
  EXPECT_THROW(AdamW<float>(store, {{0, store.num_elements() + 1}}), ContractError);
}

/// A store whose matrix "w" [8, 3] is sharded by rows and whose "norm" [5] everybody has.
ParameterStore<double> sharded_store(const Shard& shard) {
  ParameterStore<double> store(shard);
  store.add({.name = "w", .rows = 8, .columns = 3, .row_unit = 2});
  store.add({.name = "norm", .columns = 5, .vector = true});
  store.add({.name = "v", .rows = 4, .columns = 2, .column_unit = 1});
  store.allocate(true);
  return store;
}
/// Element (i, j) of a tensor has the same gradient on every rank count.
void set_sharded_gradients(const ParameterStore<double>& store) {
  for (const auto& p : store) {
    std::vector<double> values;
    for (index_t i = 0; i < p.rows; ++i)
      for (index_t j = 0; j < p.columns; ++j) {
        const index_t row = global_index(i, p.info.row_unit, store.shard()),
                      column = global_index(j, p.info.column_unit, store.shard());
        values.push_back(std::sin(1.0 + row * 7 + column * 3 + double(p.info.name[0])));
      }
    assign(p.gradient_vector(), values);
  }
}

TEST(NormOverRanks, HasTheSameBitsForEveryLayout) {
  const auto serial = sharded_store({});
  set_sharded_gradients(serial);
  auto self = Communicator::self();
  self.set_deterministic(true);
  const auto expected =
      clip_gradients<double>(ExecutionSpace(), self, {serial.gradients()}, 1.0, 0.3);
  EXPECT_NEAR(expected.norm,
              clip_gradients<double>(ExecutionSpace(), {serial.gradients()}, 1.0, 0.3).norm, 1e-12);
  for (const bool deterministic : {true, false})
    on_groups(deterministic, [&](const Communicator& group) {
      for (int tensor = 1; tensor <= group.size(); ++tensor) {
        if (group.size() % tensor != 0) continue;
        const int t = group.rank() % tensor, d = group.rank() / tensor;
        const auto store = sharded_store({t, tensor});
        set_sharded_gradients(store);
        const FlatSlices slices(store.num_elements(), group.size() / tensor, 7);
        const auto clip = clip_gradients<double>(
            ExecutionSpace(), group, counted_gradients(store, slices.of(d), t == 0), 1.0, 0.3);
        if (deterministic) {
          EXPECT_EQ(clip.norm, expected.norm);
          EXPECT_EQ(clip.scale, expected.scale);
        } else {
          EXPECT_NEAR(clip.norm, expected.norm, 1e-12);
        }
      }
    });
}

TEST(NormOverRanks, IsNotFiniteOnAllRanksIfOnOne) {
  for (const bool deterministic : {true, false})
    for (const double bad : {std::nan(""), HUGE_VAL})
      on_groups(deterministic, [&](const Communicator& group) {
        const auto x = to_device<double>({1, group.rank() == group.size() - 1 ? bad : 2});
        EXPECT_FALSE(clip_gradients<double>(ExecutionSpace(), group, {x}, 1.0).finite());
      });
}

}  // namespace
}  // namespace elastic::test
