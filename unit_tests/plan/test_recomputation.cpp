// SPDX-License-Identifier: Apache-2.0
// Which layers are recomputed so that a rank fits into its memory: as few as needed, those first
// that keep most bytes per operation; what is planned is what steps use, and the numbers of steps
// do not depend on the choice.
#include "plan/recomputation.hpp"

#include <gmock/gmock.h>

#include "plan/memory.hpp"
#include "plan/run_plan.hpp"
#include "train/train_step.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

const std::vector<std::string> base = {"pretrain/seq_length=256", "stage1/seq_length=512",
                                       "elastic/choice_epsilon=0",
                                       "parallel/logit_chunk_tokens=64"};

ResolvedDeck deck_with(const std::vector<std::string>& overrides) {
  auto all = base;
  all.insert(all.end(), overrides.begin(), overrides.end());
  return small_deck(all);
}
std::string limit(double bytes) {
  return fmt::format("parallel/memory_limit={:.12g}", bytes / 1e9);
}

double total(const RunConfig& config) {
  const ModelShape shape = parent_shape(config);
  return plan_memory(config, shape, router_size(config, shape), 1).total();
}
index_t count(const std::vector<bool>& flags) {
  return std::count(flags.begin(), flags.end(), true);
}

TEST(Recomputation, AsFewLayersAsNeeded) {
  const double none = total(deck_with({"parallel/recompute=false"}).config),
               all = total(deck_with({"parallel/recompute=true"}).config);
  ASSERT_LT(all, 0.9 * none);
  index_t before = 0;
  for (const double part : {1.0, 0.8, 0.6, 0.4, 0.2, 0.0}) {
    const double allowed = all + part * (none - all) + 1;
    const RunConfig config = with_recomputation(deck_with({limit(allowed)}), 1).config;
    EXPECT_LE(total(config), allowed) << part;
    const index_t layers = count(config.stages[0].recomputed);
    EXPECT_GE(layers, before) << part;
    EXPECT_LE(count(config.pretrain.recomputed), layers) << "its sequences are shorter";
    before = layers;
    if (part == 1) {
      EXPECT_EQ(layers, 0);
    }
    if (layers == 0) continue;
    // One less does not fit, whichever it is but the last one in the order.
    RunConfig fewer = config;
    bool too_many = false;
    for (std::size_t l = 0; l < 5; ++l) {
      if (!config.stages[0].recomputed[l]) continue;
      fewer.stages[0].recomputed = config.stages[0].recomputed;
      fewer.stages[0].recomputed[l] = false;
      too_many = too_many || total(fewer) > allowed;
    }
    EXPECT_TRUE(too_many) << part;
  }
  EXPECT_GT(before, 2);
}

TEST(Recomputation, LayersThatKeepMostBytesPerOperationComeFirst) {
  const double none = total(deck_with({}).config);
  const RunConfig config = with_recomputation(deck_with({limit(0.97 * none)}), 1).config;
  const auto& chosen = config.stages[0].recomputed;  // of M-*M-
  ASSERT_EQ(chosen.size(), 5u);
  EXPECT_TRUE(chosen[0]);
  EXPECT_FALSE(chosen[1] || chosen[4]) << "an MLP keeps less per operation than a Mamba layer";
}

TEST(Recomputation, NothingIsChosenWithoutALimitOrWhereTheDeckDecides) {
  for (const auto& overrides :
       std::vector<std::vector<std::string>>{{},
                                             {limit(1000), "parallel/recompute=false"},
                                             {limit(1000), "parallel/recompute=true"}}) {
    const RunConfig config = with_recomputation(deck_with(overrides), 1).config;
    EXPECT_TRUE(config.stages[0].recomputed.empty());
  }
  const auto all = make_curriculum(deck_with({"parallel/recompute=true"}).config);
  EXPECT_EQ(count(all.stages[1].recomputed), 5);
  EXPECT_EQ(count(with_recomputation(deck_with({limit(1000)}), 1).config.stages[0].recomputed), 5)
      << "all where none fits";
}

/// Values after a step of the deck's first stage, and the bytes of the arena that it used.
template <class T>
std::pair<std::vector<double>, double> step(const RunConfig& config) {
  TrainState<T> state = small_state<T>(config);
  state.step = 0;
  const Curriculum curriculum = make_curriculum(config);
  const ProcessGrid grid(Communicator::self(), {});
  Arena arena;
  TrainStep<T> step(grid, config, curriculum, arena);
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  std::vector<double> values;
  for (const T x : to_host(state.model->parameters().values()))
    values.push_back(static_cast<double>(static_cast<float>(x)));
  return {values, used};
}

template <class T>
void check_steps(const std::vector<std::string>& more) {
  auto elastic = more;
  elastic.insert(elastic.end(), {"job/phases=rank,elastic", "job/parent=p.h5"});
  const double none = total(deck_with(elastic).config);
  const auto whole = step<T>(deck_with(elastic).config);
  for (const double part : {0.95, 0.8}) {
    auto fitted = elastic;
    fitted.push_back(limit(part * none));
    const RunConfig config = with_recomputation(deck_with(fitted), 1).config;
    const index_t layers = count(config.stages[0].recomputed);
    EXPECT_GT(layers, 0);
    EXPECT_LT(layers, 5);
    const auto [values, used] = step<T>(config);
    EXPECT_EQ(values, whole.first) << layers << " layers";
    const ModelShape shape = parent_shape(config);
    const PlanMemory plan = plan_memory(config, shape, router_size(config, shape), 1);
    const double batch = 16.0 * 2 * 512;  // not in the arena
    EXPECT_NEAR(used / (plan.step() - batch), 1, 0.01) << layers << " layers";
    EXPECT_LT(used, whole.second);
  }
}

TEST(Recomputation, StepsUseWhatIsPlannedAndGiveTheSameBits) {
  check_steps<float>({});
  check_steps<bfloat16>({"precision/compute=bfloat16"});
}

TEST(Recomputation, ThePlanNamesTheLayers) {
  const double none = total(deck_with({}).config);
  const std::string text = run_plan(deck_with({limit(0.97 * none)}), 1);
  EXPECT_THAT(text, testing::HasSubstr("recomputed in stage1: "));
  EXPECT_THAT(text, testing::HasSubstr(" of 5 layers, 0"));
  EXPECT_THAT(text, testing::HasSubstr("fits into "));
  EXPECT_THAT(run_plan(deck_with({limit(1000)}), 1), testing::HasSubstr("does not fit into "));
  EXPECT_THAT(run_plan(deck_with({"parallel/recompute=true"}), 1),
              testing::HasSubstr("recomputed in pretrain: 5 of 5 layers, all: "));
}

}  // namespace
}  // namespace elastic::test
