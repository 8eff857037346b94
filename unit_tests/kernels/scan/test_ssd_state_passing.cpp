// SPDX-License-Identifier: Apache-2.0
// Step 3 of the chunked scan by hand, and its transpose.
#include "kernels/scan/ssd_span_passing.hpp"
#include "kernels/scan/ssd_state_passing.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
TEST(SsdStatePassing, carries_decayed_states_within_a_document) {
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

TEST(SsdStatePassing, backward_is_the_transpose) {
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
TEST(SsdSpanPassing, carries_states_over_spans_in_any_places) {
  const auto states_in = [](double scale) {
    return to_device(std::vector<double>{scale * 3, scale * 1, scale * 2}, 3, 1);
  };
  const auto places = to_device(std::vector<index_t>{1, 2, 0});  // totals 1, 2, 3 in order
  const auto decay = to_device(std::vector<double>{0.125, 0.5, 0.25});
  const auto forward = states_in(1), backward = states_in(1);
  kernels::ssd_span_passing<double>({}, kernels::Direction::forward, places, decay, forward);
  EXPECT_TRUE(near(forward, std::vector<double>{2.25, 0, 1}, 1e-15));
  kernels::ssd_span_passing<double>({}, kernels::Direction::backward, places, decay, backward);
  EXPECT_TRUE(near(backward, std::vector<double>{0, 2.75, 3}, 1e-15));
}

TEST(SsdSpanPassing, rows_are_independent) {
  const index_t spans = 3, rows_of_span = 4, columns = 600;
  const auto places = to_device(std::vector<index_t>{2, 0, 1});
  const auto decay = random_vector<double>(spans * rows_of_span, 8);
  const auto states = random_matrix<double>(spans * rows_of_span, columns, 9), all = clone(states);
  kernels::ssd_span_passing<double>({}, kernels::Direction::forward, places, decay, all);
  const auto h_all = to_host(all), h_total = to_host(states), h_decay = to_host(decay);
  const auto h_places = to_host(places);
  for (index_t row = 0; row < rows_of_span; ++row)
    for (index_t e = 0; e < columns; ++e) {
      double carried = 0;
      for (index_t i = 0; i < spans; ++i) {
        const index_t at = h_places[i] * rows_of_span + row;
        ASSERT_NEAR(h_all[at * columns + e], carried, 1e-14);
        carried = h_decay[at] * carried + h_total[at * columns + e];
      }
    }
}
}  // namespace
