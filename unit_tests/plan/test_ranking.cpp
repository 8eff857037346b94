// SPDX-License-Identifier: Apache-2.0
// The rank phase by formula against what it really computes and takes.
#include "plan/ranking.hpp"

#include <gmock/gmock.h>

#include "base/region.hpp"
#include "plan/memory.hpp"
#include "plan/run_plan.hpp"
#include "plan/time.hpp"
#include "unit_tests/plan/machine_for_tests.hpp"
#include "unit_tests/train/importance_reference.hpp"

namespace elastic::test {
namespace {

using testing::HasSubstr;

RankingPlan plan_of(const RunConfig& config) { return plan_ranking(config, parent_shape(config)); }

TEST(PlanRanking, LayerPassesByHand) {
  // 5 layers, one of which is dropped: widths 5; a round 5 + 4 + (4 + 3 + 2 + 1).
  const RankingPlan one = plan_of(ranked_deck({"elastic/drop_layers=0,1"}).config);
  EXPECT_EQ(one.layer_passes, 5 + 5 + 4 + 10);
  EXPECT_EQ(one.from_beginning, 5 * (5 + 4));
  EXPECT_EQ(one.logits, 5 + 1);
  // A second round has four layers left.
  const RankingPlan two = plan_of(ranked_deck({"rank/depth_candidates=2"}).config);
  EXPECT_EQ(two.layer_passes, one.layer_passes + 5 + 3 + 6);
  EXPECT_EQ(two.from_beginning, one.from_beginning + 4 * (5 + 3));
  EXPECT_EQ(two.logits, 5 + 3 + 4 + 2);
  EXPECT_EQ(plan_of(ranked_deck({"elastic/drop_layers="}).config).layer_passes, 5);
  EXPECT_EQ(plan_of(ranked_deck({"rank/depth_measure=cosine"}).config).layer_passes, 10);
  EXPECT_EQ(plan_of(ranked_deck({"rank/depth_measure=last_layers"}).config).layer_passes, 5);
  EXPECT_EQ(plan_of(ranked_deck({"rank/order=random"}).config).layer_passes, 0);
}

const std::vector<Overrides> variants = {{"rank/samples=4"},
                                         {"rank/samples=4", "rank/depth_candidates=1"},
                                         {"rank/samples=4", "rank/depth_candidates=2"},
                                         {"rank/samples=4", "rank/depth_measure=cosine"},
                                         {"rank/samples=4", "elastic/drop_layers="}};

TEST(PlanRanking, OperationsAreThoseCounted) {
  for (const auto& overrides : variants) {
    // Layers of one kind and size: which of them are dropped does not matter.
    const ResolvedDeck deck = ranked_deck(with(overrides, only_mlps));
    const TrainState<Real> state = make_parent<Real>(deck.config);
    const double before = counted_flops();
    rank(deck.config, *state.model);
    const double counted = counted_flops() - before,
                 planned = 4 * 40 * plan_of(deck.config).per_token.flops();
    EXPECT_NEAR(counted / planned, 1, 1e-9) << testing::PrintToString(overrides);
  }
}

TEST(PlanRanking, OperationsOfAllKindsOfLayers) {
  const ResolvedDeck deck = ranked_deck({"elastic/drop_layers=0,1", "rank/samples=4"});
  const TrainState<Real> state = make_parent<Real>(deck.config);
  const double before = counted_flops();
  rank(deck.config, *state.model);
  const double counted = counted_flops() - before,
               planned = 4 * 40 * plan_of(deck.config).per_token.flops();
  EXPECT_NEAR(counted / planned, 1, 0.03);  // the plan counts a convolution as bytes
}

TEST(PlanRanking, WorkingMemoryIsThatTaken) {
  for (const auto& overrides : variants)
    for (const Overrides& mode : {Overrides{"parallel/micro_batch_size=4"},
                                  {"job/deterministic=true", "parallel/logit_chunk_tokens=16"}}) {
      const ResolvedDeck deck = ranked_deck(with(overrides, mode));
      const TrainState<Real> state = make_parent<Real>(deck.config);
      const ProcessGrid grid(Communicator::self(), {});
      Arena arena;
      ImportancePass<Real> pass(grid, deck.config, arena);
      const auto used = static_cast<double>(high_water(arena, [&] { pass.ranking(*state.model); }));
      const double batch = 16.0 * 40 * (deck.config.job.deterministic ? 1 : 4);  // elsewhere
      const double planned = plan_memory(deck.config, state.model->shape(), 1).ranking - batch;
      // The candidates that are held when most are pass the last layers only, small ones here.
      EXPECT_LT(used, 1.01 * planned);
      EXPECT_GT(used, 0.94 * planned)
          << testing::PrintToString(overrides) << testing::PrintToString(mode);
    }
  EXPECT_EQ(
      plan_memory(ranked_deck({"rank/order=random"}).config, parent_shape(ranked_deck().config), 1)
          .ranking,
      0);
}

TEST(PlanRanking, TimeIsOperationsOverTheRateSharedOutOverReplicas) {
  const RunConfig config = ranked_deck(with(only_mlps, {"rank/samples=8"})).config;
  const ModelShape parent = parent_shape(config);
  const Machine machine = machine_of_pure_arithmetic(1e9);
  const double alone = ranking_time(config, machine, parent, {});
  EXPECT_NEAR(alone, 8 * 40 * plan_of(config).per_token.flops() / 1e9, 1e-9 * alone);
  EXPECT_NEAR(ranking_time(config, machine, parent, {.replicas = 2}), alone / 2, 1e-9 * alone);
  EXPECT_NEAR(ranking_time(config, machine, parent, {.context = 2}), alone / 2, 1e-9 * alone)
      << "whole sequences: ranks of a context group are replicas";
  const RunConfig read = ranked_deck({"job/phases=elastic", "job/parent=p.h5"}).config;
  EXPECT_EQ(ranking_time(read, machine, parent, {}), 0);
}

TEST(PlanRanking, LinesSayHowTheParentIsRankedAndWhatItTakes) {
  const auto lines = [](const Overrides& overrides) { return run_plan(ranked_deck(overrides), 1); };
  const std::string usual = lines({"elastic/drop_layers=0,1"});
  EXPECT_THAT(usual, HasSubstr("widths by mean/L2 of outputs; up to 1 layer by the logits' "
                               "error without them"));
  EXPECT_THAT(usual, HasSubstr("24 layer passes (50 without shared prefixes) and 6 times logits on "
                               "5 sequences of 40 tokens"));
  EXPECT_THAT(usual, HasSubstr("of working memory per rank"));
  EXPECT_THAT(lines({"rank/order=random"}), HasSubstr("widths at random; up to 2 layers at "
                                                      "random"));
  EXPECT_THAT(lines({"rank/aggregation=sum", "rank/activations=projections",
                     "rank/depth_measure=cosine", "rank/order=reversed"}),
              HasSubstr("widths by sums of projections, the most important last; up to 2 "
                        "layers by how far they turn the stream"));
  EXPECT_THAT(lines({"rank/order=identity", "elastic/drop_layers="}),
              HasSubstr("widths as they stand; no layer is dropped"));
  EXPECT_THAT(lines({"rank/depth_measure=last_layers"}), HasSubstr("layers from the last on"));
  EXPECT_THAT(lines({"job/phases=elastic", "job/parent=p.h5"}),
              testing::Not(HasSubstr("ranking ")));
}

}  // namespace
}  // namespace elastic::test
