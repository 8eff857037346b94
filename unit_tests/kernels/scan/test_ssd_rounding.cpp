// SPDX-License-Identifier: Apache-2.0
// The scan against itself in double precision, for all types that values are stored in: where two
// steps or many heads add to a gradient, it is rounded once all the same.
#include "unit_tests/kernels/scan/ssd_problem.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
/// One chunk and many, whole and short, one head per group and three.
const std::vector<SsdShape> shapes = {
    {1, 1, 1, 1, 1, 1, 64},   {2, 7, 2, 3, 1, 5, 4},     {2, 37, 6, 5, 2, 18, 8},
    {1, 50, 4, 20, 2, 7, 64}, {1, 70, 2, 17, 1, 40, 33},
};

template <class T>
class SsdRounding : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(SsdRounding, Scalars);

/// Every stored gradient is the fp64 result for the same (rounded) inputs, rounded once, although
/// two steps add to dx and dB, and every head to dB and dC.
TYPED_TEST(SsdRounding, StoredValuesAreRoundedOnce) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<TypeParam> problem(shape, extras);
      auto exact = problem.exact();
      problem.forward(), problem.backward();
      exact.forward(), exact.backward();
      const auto &g = problem.gradients, &e = exact.gradients;
      const double tol = scan_tolerance<TypeParam>(shape.state_dim * shape.seq_length);
      EXPECT_TRUE(near(problem.y, exact.y, tol));
      EXPECT_TRUE(near(g.dx, e.dx, tol));
      EXPECT_TRUE(near(g.dssm_B, e.dssm_B, tol));
      EXPECT_TRUE(near(g.dssm_C, e.dssm_C, tol));
      EXPECT_TRUE(near(g.ddt_raw, e.ddt_raw, tol));
      EXPECT_TRUE(near(g.dA_log, e.dA_log, tol));
      EXPECT_TRUE(near(g.ddt_bias, e.ddt_bias, tol));
      EXPECT_TRUE(near(g.dssm_D, e.dssm_D, tol));
      EXPECT_TRUE(near(g.ddt_mask, e.ddt_mask, tol));
    }
}

/// A span whose state goes on: its last chunk gets gradients by that state, too.
TYPED_TEST(SsdRounding, OfASpanThatGoesOn) {
  using T = TypeParam;
  const SsdShape shape{2, 37, 6, 5, 2, 18, 8};
  SsdProblem<T> problem(shape, false);
  problem.allocate_spans();
  const auto dfinal_state = random_matrix<Accumulate<T>>(12, 90, 52);
  problem.gradients.dfinal_state = dfinal_state;
  auto exact = problem.exact();
  exact.allocate_spans();
  exact.gradients.dfinal_state = stored_as<double>(dfinal_state);
  problem.forward(), problem.backward();
  exact.forward(), exact.backward();
  const double tol = scan_tolerance<T>(shape.state_dim * shape.seq_length);
  EXPECT_TRUE(near(problem.gradients.dx, exact.gradients.dx, tol));
  EXPECT_TRUE(near(problem.gradients.dssm_B, exact.gradients.dssm_B, tol));
  EXPECT_TRUE(near(problem.gradients.dincoming_state, exact.gradients.dincoming_state, tol));
}
}  // namespace
