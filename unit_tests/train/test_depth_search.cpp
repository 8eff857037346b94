// SPDX-License-Identifier: Apache-2.0
// The order in which layers are dropped: against a greedy search in double, to the bit against
// passes from the beginning, against streams and against planted layers.
#include "train/depth_search.hpp"

#include <gmock/gmock.h>

#include "base/on_grid.hpp"
#include "base/region.hpp"
#include "kernels/rows/logit_difference.hpp"
#include "kernels/update/global_norm.hpp"
#include "unit_tests/io/io_support.hpp"
#include "unit_tests/train/importance_reference.hpp"

namespace elastic::test {
namespace {

using testing::ElementsAre;

/// A search on one rank.
struct Search {
  explicit Search(const RunConfig& config)
      : grid(Communicator::self(), {}),
        data(grid, config, arena),
        depth(grid, config, arena, data) {}
  ProcessGrid grid;
  Arena arena;
  CalibrationData data;
  DepthSearch<Real> depth;
};
Order drop_order(const RunConfig& config, const LanguageModel<float>& parent, index_t count) {
  return Search(config).depth.drop_order(parent, count);
}

TEST(DepthSearch, LayersAreDroppedGreedilyTheLeastFirst) {
  const ResolvedDeck deck = ranked_deck({"parallel/logit_chunk_tokens=7"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  ImportanceReference reference(deck.config, *state.model);
  const Order order = rank(deck.config, *state.model).drop_order;
  ASSERT_EQ(order.size(), 5u);
  Order dropped;
  for (int place = 0; place < 2; ++place) {  // as many as the deck may drop
    const auto error_without = [&](index_t l) {
      Order all = dropped;
      all.push_back(l);
      return reference.error_without(all);
    };
    const double error = error_without(order[place]);
    for (index_t l = 0; l < 5; ++l)
      if (l != order[place] && std::find(dropped.begin(), dropped.end(), l) == dropped.end()) {
        EXPECT_LT(error, error_without(l)) << "layer " << l << " instead of " << order[place];
      }
    dropped.push_back(order[place]);
  }
  EXPECT_TRUE(std::is_sorted(order.begin() + 2, order.end()));  // the others follow as they stand
}

TEST(DepthSearch, WhatIsLeftIsScoredAgainAfterEachRemoval) {
  // Layers 1 and 2 do the same, each a little: without one of them the other matters much more, so
  // that layer 3 goes second, although by itself it matters more than either.
  const ResolvedDeck deck = ranked_deck(with(only_mlps, {"rank/samples=3"}));
  const TrainState<Real> state = make_parent<Real>(deck.config);
  for (const char* part : {"norm.weight", "mixer.up_proj", "mixer.down_proj"}) {
    const auto tensor = [&](index_t l) {
      return state.model->parameters().find(fmt::format("layers.{}.{}", l, part))->value;
    };
    Kokkos::deep_copy(tensor(2), tensor(1));
  }
  for (const index_t l : {1, 2, 3})
    scale(*state.model, fmt::format("layers.{}.mixer.down_proj", l), 0.04f);
  ImportanceReference reference(deck.config, *state.model);
  std::vector<double> alone;
  for (index_t l = 0; l < 5; ++l) alone.push_back(reference.error_without({l}));
  const Order at_once = least_important(alone, 2);
  ASSERT_THAT(Order(at_once.begin(), at_once.begin() + 2), testing::UnorderedElementsAre(1, 2));
  ASSERT_LT(reference.error_without({at_once[0], 3}), reference.error_without({1, 2}));
  const Order order = drop_order(deck.config, *state.model, 2);
  EXPECT_EQ(order[0], at_once[0]);
  EXPECT_EQ(order[1], 3);
}

TEST(DepthSearch, LayersThatDoNothingGoFirst) {
  for (const char* measure : {"logit_nmse", "cosine"}) {
    const ResolvedDeck deck = ranked_deck({fmt::format("rank/depth_measure={}", measure)});
    for (const index_t useless : {1, 3}) {
      const TrainState<Real> state = make_parent<Real>(deck.config);
      scale(*state.model,
            fmt::format("layers.{}.mixer.{}", useless, useless == 1 ? "down_proj" : "out_proj"), 0);
      EXPECT_EQ(rank(deck.config, *state.model).drop_order[0], useless) << measure;
    }
  }
}

/// As logit_errors, with a pass of the parent and one of the cut model from the beginning for every
/// candidate.
std::vector<double> errors_from_the_beginning(Search& search, const RunConfig& config,
                                              const LanguageModel<float>& parent,
                                              const Order& kept) {
  std::vector<double> errors;
  for (const index_t without : kept) {
    SubmodelSpec spec = full_spec(parent.shape());
    for (std::size_t l = 0; l < spec.layers.size(); ++l)
      spec.layers[l].keep = static_cast<index_t>(l) != without &&
                            std::find(kept.begin(), kept.end(), l) != kept.end();
    std::vector<double> sums(2, 0.0);
    search.data.for_each_batch([&](const MicroBatch& batch) {
      const auto& context = batch.context;
      auto full = parent.make_pass(Keep::nothing), cut = parent.make_pass(Keep::nothing);
      parent.forward(context, parent.full_widths(), batch.tokens, full);
      parent.forward(context, parent.widths(spec), batch.tokens, cut);
      const index_t step = config.parallel.logit_chunk_tokens;
      for (index_t begin = 0; begin < context.num_tokens(); begin += step) {
        const Arena::Scope chunk(search.arena);
        const index_t end = std::min(context.num_tokens(), begin + step), count = end - begin;
        const auto a = search.arena.matrix<float>(count, parent.shape().vocab_size),
                   b = search.arena.matrix<float>(count, parent.shape().vocab_size);
        const auto difference = search.arena.vector<float>(count),
                   norm = search.arena.vector<float>(count);
        parent.all_logits(context.products(), search.arena, rows(full.hidden, begin, end), a);
        parent.all_logits(context.products(), search.arena, rows(cut.hidden, begin, end), b);
        kernels::squared_difference<float>(context.exec, a, b, difference, norm);
        sums[0] += on_grid(kernels::sum<float>(context.exec, difference), 16);
        sums[1] += on_grid(kernels::sum<float>(context.exec, norm), 16);
      }
    });
    errors.push_back(sums[0] / sums[1]);
  }
  return errors;
}

TEST(DepthSearch, ErrorsHaveTheBitsOfPassesFromTheBeginning) {
  const TrainState<Real> state = make_parent<Real>(ranked_deck().config);
  for (const Order& kept : {Order{0, 1, 2, 3, 4}, {0, 1, 3, 4}, {1, 2, 4}, {2, 3}}) {
    std::vector<std::vector<double>> of_candidates;
    for (const int candidates : {1, 2, 3, 8}) {
      const ResolvedDeck deck =
          ranked_deck({"job/deterministic=true", "parallel/logit_chunk_tokens=16",
                       fmt::format("rank/depth_candidates={}", candidates)});
      Search search(deck.config);
      of_candidates.push_back(search.depth.logit_errors(*state.model, kept));
      EXPECT_EQ(of_candidates.back(),
                errors_from_the_beginning(search, deck.config, *state.model, kept))
          << candidates << " candidates at once";
      EXPECT_GT(of_candidates.back()[0], 0);
    }
  }
}

TEST(DepthSearch, ErrorsOfTheFastModeAreThoseOfDouble) {
  const ResolvedDeck deck = ranked_deck({"rank/depth_candidates=2"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  ImportanceReference reference(deck.config, *state.model);
  const auto errors = Search(deck.config).depth.logit_errors(*state.model, {0, 2, 3, 4});
  const Order kept = {0, 2, 3, 4};
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(errors[i] / reference.error_without({1, kept[i]}), 1, tolerance<float>(1000));
}

class MaskedDepthSearch : public InFolder {};

TEST_F(MaskedDepthSearch, OnlyTokensCountWhoseNextOneIsATarget) {
  const Overrides data = masked_data((folder / "data").string());
  for (const Overrides& mode :
       {Overrides{"parallel/logit_chunk_tokens=7"}, {"job/deterministic=true"}}) {
    const ResolvedDeck deck = ranked_deck(with(data, mode));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    ImportanceReference reference(deck.config, *state.model);
    Search search(deck.config);
    const Order kept = {0, 2, 3, 4};
    const auto errors = search.depth.logit_errors(*state.model, kept);
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_NEAR(errors[i] / reference.error_without({1, kept[i]}), 1, tolerance<float>(1000));
    EXPECT_TRUE(
        near(search.depth.stream_turns(*state.model), reference.turns(), tolerance<float>(24)));
  }
}

TEST(DepthSearch, LayersBeforeACandidateAreNotComputedAgain) {
  const ResolvedDeck deck = ranked_deck({"rank/samples=4", "job/deterministic=true"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  const auto& parent = *state.model;
  const auto counted = [&](const auto& work) {
    const double before = counted_flops();
    work();
    return counted_flops() - before;
  };
  Search search(deck.config);
  const Order kept = {0, 1, 2, 3, 4};
  const double shared = counted([&] { search.depth.logit_errors(parent, kept); }),
               naive =
                   counted([&] { errors_from_the_beginning(search, deck.config, parent, kept); });
  // One at a time each candidate needs 5 + 4 layers and logits twice; here 5 + 4 + 10 layers do for
  // all, and 6 logits. Layers differ in size.
  EXPECT_LT(shared, 0.55 * naive);
  EXPECT_GT(shared, 0.35 * naive);
}

TEST(DepthSearch, CosineIsThatOfTheStreamBeforeAndAfter) {
  for (const Overrides& mode :
       {Overrides{"parallel/micro_batch_size=2"}, {"job/deterministic=true"}}) {
    const ResolvedDeck deck = ranked_deck(with({"rank/depth_measure=cosine"}, mode));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    const auto turns = Search(deck.config).depth.stream_turns(*state.model),
               expected = ImportanceReference(deck.config, *state.model).turns();
    EXPECT_TRUE(near(turns, expected, tolerance<float>(24)));
    EXPECT_EQ(drop_order(deck.config, *state.model, 3), least_important(expected, 3));
  }
}

TEST(DepthSearch, OrdersAndMeasures) {
  const TrainState<Real> state = make_parent<Real>(ranked_deck().config);
  const auto order = [&](const Overrides& overrides, index_t count) {
    return drop_order(ranked_deck(overrides).config, *state.model, count);
  };
  EXPECT_THAT(order({"rank/depth_measure=last_layers"}, 2), ElementsAre(4, 3, 0, 1, 2));
  EXPECT_THAT(order({"rank/depth_measure=last_layers", "rank/order=reversed"}, 2),
              ElementsAre(0, 1, 2, 3, 4));
  for (const char* measure : {"logit_nmse", "cosine", "last_layers"}) {
    const Overrides deck = {fmt::format("rank/depth_measure={}", measure)};
    EXPECT_THAT(order(with(deck, {"rank/order=identity"}), 2), ElementsAre(4, 3, 0, 1, 2));
    EXPECT_EQ(order(with(deck, {"rank/order=random"}), 4),
              order({"rank/order=random"}, 4));  // whatever the measure
    EXPECT_THAT(order(deck, 0), ElementsAre(0, 1, 2, 3, 4));
  }
  EXPECT_NE(order({"rank/order=random", "job/seed=1"}, 4),
            order({"rank/order=random", "job/seed=2"}, 4));
  const Overrides cosine = {"rank/depth_measure=cosine"};
  const Order best = order(cosine, 5), worst = order(with(cosine, {"rank/order=reversed"}), 5);
  EXPECT_EQ(worst, Order(best.rbegin(), best.rend()));
  // The layer whose removal changes the logits most goes first.
  const auto errors =
      Search(ranked_deck().config).depth.logit_errors(*state.model, {0, 1, 2, 3, 4});
  EXPECT_EQ(order({"rank/order=reversed"}, 1)[0],
            std::max_element(errors.begin(), errors.end()) - errors.begin());
}

TEST(DepthSearch, LogitsThatAreNotFiniteAreAnError) {
  const ResolvedDeck deck = ranked_deck({"rank/depth_measure=cosine"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  scale(*state.model, "layers.1.mixer.down_proj", std::numeric_limits<float>::infinity());
  Search search(deck.config);
  EXPECT_THROW(search.depth.logit_errors(*state.model, {0, 1, 2}), NumericsError);
  EXPECT_THROW(search.depth.stream_turns(*state.model), NumericsError);
}

}  // namespace
}  // namespace elastic::test
