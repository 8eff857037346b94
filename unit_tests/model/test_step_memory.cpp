// SPDX-License-Identifier: Apache-2.0
// No step after the first allocates, neither the arena nor Kokkos;
// a pass keeps only what it is told to.
#include "elastic/soft_widths.hpp"
#include "unit_tests/model/model_problem.hpp"

namespace elastic::test {
namespace {

/// Allocations of Kokkos while one of these lives.
class AllocationCount {
 public:
  AllocationCount() {
    count() = 0;
    Kokkos::Tools::Experimental::set_allocate_data_callback(
        [](Kokkos_Profiling_SpaceHandle, const char*, const void*, std::uint64_t) { ++count(); });
  }
  ~AllocationCount() { Kokkos::Tools::Experimental::set_allocate_data_callback(nullptr); }
  static int& count() {
    static int n = 0;
    return n;
  }
};

/// Wide enough for several blocks of the arena.
ModelShape roomy_shape() {
  auto shape = make_shape("M-*-", 32, {LayerKind::mamba, 8, 8, 2}, {LayerKind::attention, 4, 8, 2},
                          {LayerKind::mlp, 1500});
  shape.chunk_size = 64;
  return shape;
}

void check_steps(Keep keep) {
  const auto shape = roomy_shape();
  ModelProblem<float> problem(shape, 16, {100, 150});
  problem.add_teacher();
  problem.config.tokens_per_chunk = 1000;
  ElasticSpace space = rigid_space(shape);
  space.hidden.widths = {32, 20};
  space.mamba_head_channels.widths = {8, 4};
  SoftWidths<float> soft(shape, space);
  std::vector<Probabilities> draws = {{{0.5, 0.5}, {0.5, 0.5}}, {{0, 1}, {0, 1}}, {{1, 0}, {0, 1}}};
  const auto step = [&](const Probabilities& pi) {
    problem.differentiate(soft.set(problem.context.exec, pi), keep);
  };
  step(draws[0]);
  const auto capacity = problem.arena.capacity();
  EXPECT_GT(capacity, std::size_t{64} << 20) << "one block only: the test says little";
  const AllocationCount allocations;
  for (int i = 0; i < 2; ++i)
    for (const auto& pi : draws) step(pi);
  EXPECT_EQ(problem.arena.capacity(), capacity);
  EXPECT_EQ(allocations.count(), 0);
  EXPECT_EQ(problem.arena.mark().block, 0u);
  EXPECT_EQ(problem.arena.mark().used, 0u);
}

TEST(StepMemory, NothingIsAllocatedAfterTheFirstStep) {
  check_steps(Keep::everything);
  check_steps(Keep::inputs);
}

/// Bytes of the arena that a forward pass has left in use.
std::size_t bytes_after_forward(const std::string& pattern, Keep keep) {
  auto shape = small_parent();
  shape.layers.clear();
  for (const char kind : pattern) shape.layers.push_back(small_shape({kind}).layers[0]);
  ModelProblem<float> problem(shape);
  const auto& arena = problem.arena;
  const Arena::Scope scope(problem.arena);
  auto pass = problem.model.make_pass(keep);
  problem.model.forward(problem.context, problem.full_widths(), problem.tokens, pass);
  EXPECT_EQ(arena.mark().block, 0u);
  return arena.mark().used;
}

TEST(StepMemory, WhatIsNotKeptIsGivenBack) {
  const std::string two = "M-", eight = "M-M*-M*-";
  const auto growth = [&](Keep keep) {
    return bytes_after_forward(eight, keep) - bytes_after_forward(two, keep);
  };
  constexpr std::size_t input = (26 * 12 * sizeof(float) + 255) / 256 * 256;  // [T, D], padded
  EXPECT_EQ(growth(Keep::nothing), 0u);
  EXPECT_EQ(growth(Keep::inputs), 6 * input);
  EXPECT_GT(growth(Keep::everything), 4 * 6 * input);
}

}  // namespace
}  // namespace elastic::test
