// SPDX-License-Identifier: Apache-2.0
// Mixers whose units are sharded over tensor-parallel ranks, played one after the other: outputs
// and input gradients add up to those of the whole layer, parameter gradients are its parts.
#include <array>

#include "unit_tests/layers/layer_problem.hpp"

namespace elastic::test {
namespace {

/// The part of one rank of a LayerProblem: the same values, the same input and loss.
template <class T>
struct RankProblem {
  RankProblem(const LayerProblem<T>& whole, const Shard& shard)
      : store(shard), layer(make_layer<T>(whole.shape, 0, store)), problem(whole) {
    store.allocate(true);
    randomize(store, 33);
    context = whole.context;
    context.arena = &arena;
    y = View2<Accumulate<T>>("elastic::test::y", whole.u.extent(0), whole.u.extent(1));
    du = View2<Accumulate<T>>("elastic::test::du", whole.u.extent(0), whole.u.extent(1));
  }
  void differentiate(const LayerActive<T>& active) {
    const Arena::Scope scope(arena);
    const auto saved = layer->make_saved();
    layer->forward(context, active, problem.u, y, *saved);
    layer->backward(context, active, problem.c, problem.u, *saved, du);
  }

  ParameterStore<T> store;
  std::unique_ptr<Layer<T>> layer;
  const LayerProblem<T>& problem;
  Arena arena;
  LayerContext context;
  View2<Accumulate<T>> y, du;
};

/// a + b, as ranks 0 and 1 add them.
template <class T>
std::vector<T> sum_of(const View2<T>& a, const View2<T>& b) {
  auto sum = to_host(a);
  const auto other = to_host(b);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
  return sum;
}

template <class T>
void check_two_ranks(const ModelShape& shape, const SubmodelSpec& spec, bool masked,
                     bool deterministic) {
  SCOPED_TRACE(
      fmt::format("{}, masked {}, deterministic {}", describe(shape, spec), masked, deterministic));
  const auto widths_of = [&](const Shard& shard) {
    return (masked ? masked_widths<T>(shape, spec, true, shard)
                   : prefix_widths<T>(shape, spec, shard))
        .layers[0];
  };
  LayerProblem<T> whole(shape, masked ? shape.hidden_size : spec.hidden_size, true);
  whole.context.deterministic = deterministic;
  const auto active = widths_of({});
  whole.differentiate(active);
  RankProblem<T> first(whole, {0, 2}), second(whole, {1, 2});
  std::vector<Accumulate<T>> mask_gradient(active.inner.gradient.size());
  for (auto* rank : {&first, &second}) {
    const Shard shard = rank->store.shard();
    const auto mine = widths_of(shard);
    rank->differentiate(mine);
    for (index_t i = 0; i < whole.store.size(); ++i) {
      const auto expected =
          part_of_whole(rank->store, rank->store[i], to_host(whole.store[i].gradient));
      if (deterministic)
        EXPECT_TRUE(bitwise_equal(rank->store[i].gradient, expected)) << whole.store[i].info.name;
      else
        EXPECT_TRUE(near(rank->store[i].gradient, expected, layer_tolerance<T>(50)))
            << whole.store[i].info.name;
    }
    const index_t block =
        shape.layers[0].kind == LayerKind::mamba ? shape.layers[0].head_channels : 1;
    const auto part = to_host(mine.inner.gradient);
    for (index_t i = 0; i < static_cast<index_t>(part.size()); ++i)
      mask_gradient[global_index(i, block, shard)] = part[i];
  }
  EXPECT_TRUE(near(mask_gradient, to_host(active.inner.gradient), layer_tolerance<T>(50)));
  const auto y = sum_of(first.y, second.y), du = sum_of(first.du, second.du);
  EXPECT_TRUE(near(y, to_host(whole.y), layer_tolerance<T>(50)));
  EXPECT_TRUE(near(du, to_host(whole.du), layer_tolerance<T>(50)));
  if (deterministic) {
    EXPECT_TRUE(bitwise_equal(whole.y, y));
    EXPECT_TRUE(bitwise_equal(whole.du, du));
  }
}

template <class T>
void check_all_kinds() {
  for (const std::string kind : {"M", "*", "-"}) {
    const auto shape = one_layer(kind);
    for (const auto& spec : {full_spec(shape), narrow_spec(shape)})
      for (const bool masked : {false, true})
        for (const bool deterministic : {false, true})
          check_two_ranks<T>(shape, spec, masked, deterministic);
  }
}

TEST(LayerShards, AddUpToTheWholeLayer) {
  check_all_kinds<bfloat16>();
  check_all_kinds<float>();
  check_all_kinds<double>();
}

TEST(LayerShards, ARankHoldsItsUnitsAndNothingElse) {
  for (const std::string kind : {"M", "*", "-"}) {
    ParameterStore<float> whole, first({0, 2}), second({1, 2});
    for (auto* store : {&whole, &first, &second}) {
      make_layer<float>(one_layer(kind), 0, *store);
      store->allocate(false);
    }
    for (index_t i = 0; i < whole.size(); ++i) {
      EXPECT_TRUE(whole[i].info.sharded()) << whole[i].info.name;
      EXPECT_EQ(first[i].size() + second[i].size(), whole[i].size()) << whole[i].info.name;
    }
  }
}

}  // namespace
}  // namespace elastic::test
