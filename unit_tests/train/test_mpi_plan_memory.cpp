// SPDX-License-Identifier: Apache-2.0
// The plan's bytes per rank against what two ranks hold, as replicas and as one tensor-parallel
// group.
#include <gtest/gtest.h>

#include "comm/collectives.hpp"
#include "optim/gradient_buckets.hpp"
#include "train/plan_memory.hpp"
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
  TrainState state = make_parent(config, grid, Weights::zero);
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
  const int replicas = world.size() / tensor_ranks;
  EXPECT_EQ(replicas_of(config, world.size()), replicas);
  EXPECT_EQ(plan.sums > 0, replicas > 1);
}

TEST(PlanMemoryOnRanks, Replicas) { check_state(1); }
TEST(PlanMemoryOnRanks, TensorParallel) { check_state(Communicator::world().size()); }

/// The arena of the first step of pretraining, against the plan.
void check_step(bool sequence_parallel, bool recompute) {
  const Communicator world = Communicator::world();
  const int ranks = world.size();
  const ResolvedDeck deck =
      small_deck({fmt::format("parallel/tensor_parallel_size={}", ranks),
                  fmt::format("parallel/sequence_parallel={}", sequence_parallel),
                  fmt::format("parallel/recompute={}", recompute), "pretrain/seq_length=64",
                  "parallel/micro_batch_size=4", "job/phases=pretrain"});
  const RunConfig& config = deck.config;
  const Curriculum curriculum = make_curriculum(config);
  const ProcessGrid grid(world, {.tensor = ranks});
  TrainState state = make_parent(config, grid, Weights::initial);
  Arena arena;
  TrainStep step(grid, config, curriculum, arena);
  const auto used = static_cast<double>(high_water(arena, [&] { step.run(state); }));
  const PlanMemory plan = plan_memory(config, state.model->shape(), 0, ranks);
  const double batch = 16.0 * 4 * 64;  // not in the arena
  EXPECT_NEAR(all_reduce_max(world, used) / (plan.step() - batch), 1, 0.02)
      << (sequence_parallel ? "sequence parallel " : "") << (recompute ? "recompute" : "");
}

TEST(PlanMemoryOnRanks, WorkingMemoryOfAStep) {
  for (const bool sequence_parallel : {false, true})
    for (const bool recompute : {false, true}) check_step(sequence_parallel, recompute);
}

}  // namespace
}  // namespace elastic::test
