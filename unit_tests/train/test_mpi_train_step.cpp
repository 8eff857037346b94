// SPDX-License-Identifier: Apache-2.0
// Steps of several replicas against those of one: what a step trains does not depend on the number
// of ranks, micro-batches go where they keep replicas equally busy, every sample to one of them.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "elastic/training_flops.hpp"
#include "train/step_deal.hpp"
#include "train/train_step.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

const std::string second_stage = R"(<stage2>
steps = 2
seq_length = 40
global_batch_size = 5
budget_probability = 0.5, 0.3, 0.2
budgets_per_sample = 2
teacher = trainable
teacher_cross_entropy_weight = 0.5
)";

ResolvedDeck elastic_deck(std::vector<std::string> overrides) {
  overrides.insert(overrides.begin(),
                   {"job/phases=rank,elastic", "job/parent=p.h5", "model/init_std=0.2",
                    "model/hybrid_layer_pattern=M-*", "elastic/drop_layers=0,1",
                    "optimizer/epsilon=1e-2", "stage1/seq_length=40", "stage1/steps=2",
                    "stage1/global_batch_size=11", "router/samples_per_draw=3"});
  return read_run_config(small_deck_text + second_stage, "small.in", overrides);
}

/// Losses, norms and what each budget measured, step after step.
std::vector<double> numbers_of(Communicator ranks, const ResolvedDeck& deck) {
  ranks.set_deterministic(deck.config.job.deterministic);
  const ProcessGrid grid(ranks, parallel_sizes(deck.config));
  const Curriculum curriculum = make_curriculum(deck.config);
  TrainState<Real> state = make_parent<Real>(deck.config, grid, Weights::initial);
  begin_elastic(deck.config, random_ranking(state.model->shape()), state);
  randomize(state.elastic->router->parameters().values(), 61);
  Arena arena;
  TrainStep<Real> step(grid, deck.config, curriculum, arena);
  std::vector<double> numbers;
  for (int s = 0; s < 4; ++s) {
    const StepMetrics m = step.run(state);
    numbers.insert(numbers.end(), {m.loss, m.gradient_norm});
    for (const auto& b : m.budgets)
      for (const double x : {b.kl, b.budget_loss, b.relative_cost, b.share})
        numbers.push_back(std::isnan(x) ? -1 : x);
  }
  return numbers;
}

TEST(TrainStepOnRanks, GivesTheNumbersOfOneRank) {
  for (const int micro_batch_size : {1, 2}) {
    const auto deck = elastic_deck({fmt::format("parallel/micro_batch_size={}", micro_batch_size)});
    const auto one = numbers_of(Communicator::self(), deck),
               all = numbers_of(Communicator::world(), deck);
    ASSERT_EQ(all.size(), one.size());
    for (std::size_t i = 0; i < one.size(); ++i)
      EXPECT_NEAR(all[i], one[i], 1e-4 * std::max(1.0, std::abs(one[i]))) << i;
  }
}

TEST(TrainStepOnRanks, GivesTheBitsOfOneRankInDeterministicMode) {
  const auto deck = elastic_deck({"job/deterministic=true"});
  EXPECT_EQ(numbers_of(Communicator::world(), deck), numbers_of(Communicator::self(), deck));
}

TEST(TrainStepOnRanks, GivesTheBitsOfOneRankWithFixedWidths) {
  const auto deck =
      elastic_deck({"job/deterministic=true", "router/widths=homogeneous", "elastic/per_layer="});
  EXPECT_EQ(numbers_of(Communicator::world(), deck), numbers_of(Communicator::self(), deck));
}

TEST(StepDealOnRanks, SharesOutEverySampleOnceAndEvenly) {
  const Communicator world = Communicator::world();
  // A router that has settled: budgets differ in their widths.
  const auto deck = elastic_deck(
      {"stage1/global_batch_size=96", "router/tau_start=0.05", "router/hard_sample_probability=0"});
  const RunConfig& config = deck.config;
  const ProcessGrid grid(world, {});
  const Stage stage = make_curriculum(config).stages[0];
  TrainState<Real> state = make_parent<Real>(config, grid, Weights::initial);
  begin_elastic(config, random_ranking(state.model->shape()), state);
  randomize(state.elastic->router->parameters().values(), 61);
  StepDeal deal(grid, config);
  const TrainingPasses passes = training_passes(config, stage);
  ElasticState<Real>& elastic = *state.elastic;
  const ModelShape& shape = state.model->shape();
  for (index_t s = 1; s <= 3; ++s) {
    const RouterTemperature temperature{10, 0.05};
    std::vector<double> samples(96, 0.0);
    double work = 0;
    for (const auto& batch : deal.micro_batches(state, stage, s, temperature))
      for (const std::size_t b : batch.budgets) {
        const auto& widths = elastic.soft_widths->set(
            {}, elastic.router->forward({}, config.elastic.budgets[b], temperature,
                                        deal.stream(s, batch, b)));
        SubmodelSpec spec{.name = {}, .budget = 1, .hidden_size = widths.hidden, .layers = {}};
        for (const auto& layer : widths.layers)
          spec.layers.push_back({layer.width, layer.head_channels, layer.active});
        for (const index_t sample : batch.samples) {
          samples[static_cast<std::size_t>(sample)] += 1;
          work += training_flops_per_token(shape, spec, 40, passes) +
                  teacher_flops_per_token(shape, 40, passes);
        }
      }
    all_reduce_sum(world, samples);
    EXPECT_EQ(samples, std::vector<double>(96, 1.0));
    const double most = all_reduce_max(world, work), all = all_reduce_sum(world, work);
    EXPECT_LT(most, 1.03 * all / world.size()) << "step " << s;
  }
}

}  // namespace
}  // namespace elastic::test
