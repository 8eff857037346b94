// SPDX-License-Identifier: Apache-2.0
// Step 3 of the chunked scan by hand, and its transpose.
#include "kernels/scan/ssd_state_passing.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
TEST(SsdStatePassing, CarriesDecayedStatesWithinADocument) {
  const kernels::SsdShape shape{1, 8, 1, 1, 1, 1, 2};
  const auto cumsum = two_words(to_device(
      std::vector<double>{9, std::log(0.5), 9, std::log(0.5), 9, std::log(0.25), 9, 9}, 8, 1));
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
    problem.saved.dA_cumsum = two_words(random_matrix<double>(60, 3, 5, -2, 0));
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

/// What comes in is decayed like any state, and the state after the last token comes out.
TEST(SsdStatePassing, BeginsWithTheIncomingStateAndKeepsTheFinalOne) {
  const kernels::SsdShape shape{1, 4, 1, 1, 1, 1, 2};
  for (const bool same_document : {true, false}) {
    SsdProblem<double> p(shape, false);
    p.saved.dA_cumsum =
        two_words(to_device(std::vector<double>{9, std::log(0.5), 9, std::log(0.25)}, 4, 1));
    p.saved.states = to_device(std::vector<double>{3, 5}, 2, 1);
    p.saved.final_state = View2<double>("elastic::test::final", 1, 1);
    p.segment = to_device(std::vector<token_t>{7, 7, 7, 7});
    p.incoming.state = to_device(std::vector<double>{8}, 1, 1);
    p.incoming.segment = to_device(std::vector<token_t>{same_document ? 7 : 6});
    kernels::ssd_state_passing_forward<double>({}, shape, p.inputs(), p.saved);
    const double second = (same_document ? 0.5 * 8 : 0) + 3;
    EXPECT_TRUE(near(p.saved.states, std::vector<double>{8, second}, 1e-15));
    EXPECT_TRUE(near(p.saved.final_state, std::vector<double>{0.25 * second + 5}, 1e-15));
  }
}

/// final = decay incoming + total, and the same going backward, for a state that comes in.
TEST(SsdStatePassing, TotalAndDecayDescribeTheSpan) {
  const kernels::SsdShape shape{2, 30, 3, 2, 1, 5, 4};
  const index_t n = 6, size = 10;
  SsdProblem<double> p(shape, false);
  p.saved.dA_cumsum = two_words(random_matrix<double>(60, 3, 5, -2, 0));
  p.saved.states = random_matrix<double>(shape.num_states(), size, 6);
  p.saved.final_state = View2<double>("elastic::test::final", n, size);
  p.incoming.state = random_matrix<double>(n, size, 7);
  auto work = p.workspace();
  work.dstates = random_matrix<double>(shape.num_states(), size, 8);
  p.gradients.dfinal_state = random_matrix<double>(n, size, 9);
  p.gradients.dincoming_state = View2<double>("elastic::test::dincoming", n, size);
  const auto check = [&](const View2<double>& result, const View2<const double>& carried,
                         const View2<double>& total, const View1<double>& decay) {
    auto expected = to_host(total);
    const auto c = to_host(carried), d = to_host(decay);
    for (index_t i = 0; i < n * size; ++i) expected[i] += d[i / size] * c[i];
    EXPECT_TRUE(near(result, expected, 1e-13));
  };
  const View2<double> total("elastic::test::total", n, size), back("elastic::test::back", n, size);
  const View1<double> decay("elastic::test::decay", n), decay_back("elastic::test::decay", n);
  using kernels::Direction;
  kernels::ssd_state_passing_total<double>({}, shape, Direction::forward, p.inputs(), p.saved,
                                           p.saved.states, total, decay);
  kernels::ssd_state_passing_total<double>({}, shape, Direction::backward, p.inputs(), p.saved,
                                           work.dstates, back, decay_back);
  kernels::ssd_state_passing_forward<double>({}, shape, p.inputs(), p.saved);
  kernels::ssd_state_passing_backward<double>({}, shape, p.inputs(), p.saved, work, p.gradients);
  check(p.saved.final_state, p.incoming.state, total, decay);
  check(p.gradients.dincoming_state, p.gradients.dfinal_state, back, decay_back);
  EXPECT_TRUE(bitwise_equal(decay, decay_back));
}

TEST(SsdStatePassing, WrongExtentsAreNamed) {
  const kernels::SsdShape shape{2, 8, 4, 3, 2, 5, 4};
  const auto with = [&](const auto& change, const std::string& text) {
    SsdProblem<float> p(shape, false);
    change(p);
    return refuses(
        [&] { kernels::ssd_state_passing_forward<float>({}, shape, p.inputs(), p.saved); }, text);
  };
  const auto bad = random_matrix<float>(16, 7, 1);
  EXPECT_TRUE(with([&](auto& p) { p.saved.states = bad; }, "states is [16, 7], expected [16, 15]"));
  EXPECT_TRUE(
      with([&](auto& p) { p.saved.dA_cumsum = bad; }, "dA_cumsum is [16, 7], expected [16, 8]"));
  EXPECT_TRUE(with([&](auto& p) { p.saved.final_state = bad; },
                   "final_state is [16, 7], expected [8, 15]"));
  EXPECT_TRUE(with([&](auto& p) { p.incoming.state = bad; },
                   "incoming state is [16, 7], expected [8, 15]"));
}
}  // namespace
