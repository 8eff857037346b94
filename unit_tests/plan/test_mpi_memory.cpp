// SPDX-License-Identifier: Apache-2.0
// The plan's bytes per rank against what two ranks hold, as replicas and as
// one tensor-parallel group.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "comm/collectives.hpp"
#include "optim/gradient_buckets.hpp"
#include "plan/memory.hpp"
#include "state/checkpoint_saver.hpp"
#include "train/train_step.hpp"
#include "unit_tests/train/small_run.hpp"

namespace elastic::test {
namespace {

double largest(const Communicator& comm, std::size_t elements) {
  return all_reduce_max(comm, static_cast<double>(sizeof(float) * elements));
}

void check_state(int tensor_ranks) {
  const Communicator world = Communicator::world();
  const ResolvedDeck deck =
      small_deck({fmt::format("parallel/tensor_parallel_size={}", tensor_ranks)});
  const RunConfig& config = deck.config;
  const ProcessGrid grid(world, {.tensor = tensor_ranks});
  TrainState<Real> state = make_parent<Real>(config, grid, Weights::zero);
  make_elastic(config, identity_ranking(state.model->shape()), state);
  const auto& parameters = state.model->parameters();
  const auto& router = state.elastic->router->parameters();
  const auto& router_optimizer = *state.elastic->router_optimizer;

  const PlanMemory plan =
      plan_memory(config, state.model->shape(), router.num_elements(), world.size());
  EXPECT_EQ(plan.weights, largest(world, parameters.values().size()));
  EXPECT_EQ(plan.gradients, largest(world, parameters.gradients().size()));
  EXPECT_EQ(plan.moments, largest(world, 2 * state.optimizer->first_moments().size()));
  EXPECT_EQ(plan.teacher, largest(world, state.elastic->teacher->parameters().values().size()));
  EXPECT_EQ(plan.router, largest(world, 2 * router.values().size() +
                                            2 * router_optimizer.first_moments().size()));
  const int owners = world.size() / tensor_ranks;
  EXPECT_EQ(owners_of(config, world.size()), owners);
  EXPECT_EQ(plan.sums > 0, owners > 1);
}

TEST(PlanMemoryOnRanks, Replicas) { check_state(1); }
TEST(PlanMemoryOnRanks, TensorParallel) { check_state(Communicator::world().size()); }

TEST(PlanMemoryOnRanks, CopiesOfWhatIsSaved) {
  const Communicator world = Communicator::world();
  std::string folder =
      std::filesystem::temp_directory_path() / fmt::format("elastic_plan_memory_{}", ::getpid());
  broadcast(world, folder);
  if (world.is_root()) std::filesystem::create_directories(folder);
  for (const int tensor_ranks : {1, world.size()}) {
    const ResolvedDeck deck =
        small_deck({fmt::format("parallel/tensor_parallel_size={}", tensor_ranks)});
    const ProcessGrid grid(world, {.tensor = tensor_ranks});
    TrainState<Real> state = make_parent<Real>(deck.config, grid, Weights::zero);
    make_elastic(deck.config, identity_ranking(state.model->shape()), state);
    CheckpointSaver saver(grid);
    saver.save({.path = std::filesystem::path(folder) / "state.h5",
                .what = "test",
                .fill = [&](const StateWriter& file) { write_state(file, state, deck.text); },
                .prepare = {},
                .committed = {}});
    const PlanMemory plan =
        plan_memory(deck.config, state.model->shape(),
                    state.elastic->router->parameters().num_elements(), world.size());
    const double copy = all_reduce_max(world, static_cast<double>(saver.snapshot_bytes()));
    EXPECT_NEAR(copy / plan.snapshot, 1, 0.08);
  }
  barrier(world);
  if (world.is_root()) std::filesystem::remove_all(folder);
}

/// The arena of the first step of pretraining, against the plan.
void check_step(const ParallelSizes& sizes, const std::vector<std::string>& overrides) {
  const Communicator world = Communicator::world();
  std::vector<std::string> all{fmt::format("parallel/tensor_parallel_size={}", sizes.tensor),
                               fmt::format("parallel/context_parallel_size={}", sizes.context),
                               "pretrain/seq_length=64", "parallel/micro_batch_size=4",
                               "job/phases=pretrain"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  const ResolvedDeck deck = small_deck(all);
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  const ProcessGrid grid(world, sizes);
  TrainState<Real> state = make_parent<Real>(config, grid, Weights::initial);
  Arena arena;
  TrainStep<Real> step(grid, config, curriculum, arena);
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  const PlanMemory plan = plan_memory(config, state.model->shape(), 0, world.size());
  const double sequences = config.job.deterministic ? 1 : 4,
               batch = 16.0 * sequences * 64 / sizes.context;  // not in the arena
  EXPECT_NEAR(all_reduce_max(world, used) / (plan.step() - batch), 1, 0.02)
      << sizes.context << " context-parallel ranks, " << testing::PrintToString(overrides);
}

TEST(PlanMemoryOnRanks, WorkingMemoryOfAStep) {
  const int ranks = Communicator::world().size();
  for (const char* recompute : {"parallel/recompute=false", "parallel/recompute=true"})
    for (const bool context : {false, true}) {
      const ParallelSizes sizes =
          context ? ParallelSizes{.context = ranks} : ParallelSizes{.tensor = ranks};
      check_step(sizes, {recompute});
      check_step(sizes, {recompute, "job/deterministic=true"});
      if (!context) check_step(sizes, {recompute, "parallel/sequence_parallel=true"});
    }
}

}  // namespace
}  // namespace elastic::test
