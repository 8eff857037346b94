// SPDX-License-Identifier: Apache-2.0
// The whole scan: against the recurrence, finite differences, PyTorch; and what must not change it.
#include "kernels/ssd.hpp"

#include "unit_tests/kernels/ssd_problem.hpp"
#include "unit_tests/support/fixture.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
const std::vector<SsdShape> shapes = {
    {1, 1, 1, 1, 1, 1, 64},    {2, 7, 2, 3, 1, 5, 4},    {1, 64, 4, 16, 2, 16, 16},
    {2, 37, 6, 5, 3, 18, 8},   {1, 50, 4, 20, 2, 7, 64}, {3, 16, 2, 33, 2, 9, 16},
    {1, 70, 2, 17, 1, 40, 33},
};

template <class S>
class Ssd : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Ssd, Scalars);

TYPED_TEST(Ssd, equals_the_recurrence) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<TypeParam> problem(shape, extras);
      EXPECT_TRUE(near(problem.forward(), reference_ssd(shape, problem.reference()),
                       tolerance<TypeParam>(shape.state_dim * shape.seq_length)));
    }
}

TYPED_TEST(Ssd, equals_pytorch) {
  const Fixture fixture("ssd.h5");
  for (const index_t chunk : {4, 16}) {
    SsdProblem<TypeParam> problem({2, 13, 6, 3, 3, 4, chunk}, false);
    problem.x = fixture.matrix<TypeParam>("scan/x");
    problem.ssm_B = fixture.matrix<TypeParam>("scan/ssm_B");
    problem.ssm_C = fixture.matrix<TypeParam>("scan/ssm_C");
    problem.dt_raw = fixture.matrix<TypeParam>("scan/dt_raw");
    problem.A_log = fixture.vector<TypeParam>("scan/A_log");
    problem.dt_bias = fixture.vector<TypeParam>("scan/dt_bias");
    problem.ssm_D = fixture.vector<TypeParam>("scan/ssm_D");
    problem.dt_mask = fixture.vector<TypeParam>("scan/dt_mask");
    problem.segment = fixture.tokens("scan/segment");
    problem.dy = fixture.matrix<TypeParam>("scan/dy");
    problem.clear_gradients();
    const double tol = tolerance<TypeParam>(100);
    EXPECT_TRUE(near(problem.forward(), fixture.matrix<double>("scan/y"), tol));
    problem.backward();
    const auto& g = problem.gradients;
    EXPECT_TRUE(near(g.dx, fixture.matrix<double>("scan/dx"), tol));
    EXPECT_TRUE(near(g.dssm_B, fixture.matrix<double>("scan/dssm_B"), tol));
    EXPECT_TRUE(near(g.dssm_C, fixture.matrix<double>("scan/dssm_C"), tol));
    EXPECT_TRUE(near(g.ddt_raw, fixture.matrix<double>("scan/ddt_raw"), tol));
    EXPECT_TRUE(near(g.dA_log, fixture.vector<double>("scan/dA_log"), tol));
    EXPECT_TRUE(near(g.ddt_bias, fixture.vector<double>("scan/ddt_bias"), tol));
    EXPECT_TRUE(near(g.dssm_D, fixture.vector<double>("scan/dssm_D"), tol));
    EXPECT_TRUE(near(g.ddt_mask, fixture.vector<double>("scan/ddt_mask"), tol));
  }
}

TEST(Ssd, gradients_equal_finite_differences) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape) + (extras ? " with mask and segments" : ""));
      SsdProblem<double> problem(shape, extras);
      const auto loss = [&] { return problem.loss(); };
      problem.forward();
      problem.backward();
      const auto g = problem.gradients;
      EXPECT_LT(directional_error(loss, problem.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_raw, g.ddt_raw), 1e-6);
      if (shape.seq_length > 1) {  // else zero, up to rounding
        EXPECT_LT(directional_error(loss, problem.A_log, g.dA_log), 1e-6);
      }
      EXPECT_LT(directional_error(loss, problem.dt_bias, g.ddt_bias), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_D, g.dssm_D), 1e-6);
      EXPECT_LT(directional_error(loss, problem.dt_mask, g.ddt_mask), 1e-6);
    }
}
}  // namespace
