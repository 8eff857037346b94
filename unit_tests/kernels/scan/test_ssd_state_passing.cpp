// SPDX-License-Identifier: Apache-2.0
// Step 3 of the chunked scan by hand, and its transpose.
#include "kernels/scan/ssd_state_passing.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
TEST(SsdStatePassing, CarriesDecayedStatesWithinADocument) {
  const kernels::SsdShape shape{1, 8, 1, 1, 1, 1, 2};
  const auto cumsum = to_device(
      std::vector<double>{9, std::log(0.5), 9, std::log(0.5), 9, std::log(0.25), 9, 9}, 8, 1);
  for (const bool split : {false, true}) {
    const auto states = to_device(std::vector<double>{1, 2, 3, 4}, 4, 1);
    SsdProblem<double> problem(shape, false);
    problem.saved.dA_cumsum = cumsum;
    problem.saved.states = states;
    if (split) problem.segment = to_device(std::vector<token_t>{1, 1, 1, 1, 1, 2, 2, 2});
    kernels::ssd_state_passing_forward<double>(ExecutionSpace(), shape, problem.inputs(),
                                               problem.saved);
    // S_1 = 1, S_2 = 0.5 * 1 + 2, S_3 = d_2 S_2 + 3 with d_2 = 0.25, or 0 where a document begins
    // in chunk 2
    EXPECT_TRUE(near(states, std::vector<double>{0, 1, 2.5, split ? 3 : 3.625}, 1e-15));
  }
}

TEST(SsdStatePassing, BackwardIsTheTranspose) {
  const kernels::SsdShape shape{2, 30, 3, 7, 1, 45, 4};
  for (const bool extras : {false, true}) {
    SsdProblem<double> problem(shape, extras);
    problem.saved.dA_cumsum = random_matrix<double>(60, 3, 5, -2, 0);
    const auto Z = random_matrix<double>(shape.num_states(), 7 * 45, 6),
               w = random_matrix<double>(shape.num_states(), 7 * 45, 7);
    const auto T = clone(Z), dZ = clone(w);
    problem.saved.states = T;
    auto work = problem.workspace();
    work.dstates = dZ;
    kernels::ssd_state_passing_forward<double>(ExecutionSpace(), shape, problem.inputs(),
                                               problem.saved);
    kernels::ssd_state_passing_backward<double>(ExecutionSpace(), shape, problem.inputs(),
                                                problem.saved, work, problem.gradients);
    EXPECT_NEAR(dot(T, w), dot(Z, dZ), 1e-10);
    EXPECT_NE(dot(T, w), 0);
  }
}
}  // namespace
