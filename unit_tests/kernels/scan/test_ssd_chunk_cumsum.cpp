// SPDX-License-Identifier: Apache-2.0
// Step 1 of the chunked scan against its equations and finite differences.
#include "kernels/scan/ssd_chunk_cumsum.hpp"

#include <cmath>

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
template <class T>
void forward(const SsdProblem<T>& p) {
  kernels::ssd_chunk_cumsum_forward<T>(ExecutionSpace(), p.shape, p.inputs(), p.saved);
}

template <class T>
class SsdChunkCumsum : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SsdChunkCumsum, Scalars);

TYPED_TEST(SsdChunkCumsum, EqualsItsEquations) {
  for (const bool extras : {false, true}) {
    const SsdProblem<TypeParam> problem({2, 37, 18, 1, 1, 1, 8}, extras);
    forward(problem);
    const auto in = problem.reference();
    std::vector<double> dt, cumsum;
    for (index_t t = 0; t < 74; ++t)
      for (index_t h = 0; h < 18; ++h) {
        const double raw = (extras ? in.dt_mask[h] : 1) * in.dt_raw[t * 18 + h] + in.dt_bias[h];
        const bool begins = t % 37 % 8 == 0 || (extras && in.segment[t] != in.segment[t - 1]);
        dt.push_back(std::log(1 + std::exp(raw)));
        cumsum.push_back((begins ? 0 : cumsum[(t - 1) * 18 + h]) -
                         dt.back() * std::exp(in.A_log[h]));
      }
    EXPECT_TRUE(near(problem.saved.dt, dt, tolerance<TypeParam>(1)));
    EXPECT_TRUE(near(problem.saved.dA_cumsum, cumsum, tolerance<TypeParam>(8)));
  }
}

TEST(SsdChunkCumsum, GradientsEqualFiniteDifferences) {
  for (const bool extras : {false, true}) {
    SsdProblem<double> problem({2, 37, 18, 1, 1, 1, 8}, extras);
    const auto weights_dt = random_matrix<double>(74, 18, 31),
               weights_cumsum = random_matrix<double>(74, 18, 32);
    const auto loss = [&] {
      forward(problem);
      return dot(problem.saved.dt, weights_dt) + dot(problem.saved.dA_cumsum, weights_cumsum);
    };
    loss();
    const auto& g = problem.gradients;
    auto work = problem.workspace();
    work.ddt = weights_dt;
    work.ddA_cumsum = weights_cumsum;
    kernels::ssd_chunk_cumsum_backward<double>(ExecutionSpace(), problem.shape, problem.inputs(),
                                               problem.saved, work, g);
    EXPECT_LT(directional_error(loss, problem.dt_raw, g.ddt_raw), 1e-6);
    EXPECT_LT(directional_error(loss, problem.A_log, g.dA_log), 1e-6);
    EXPECT_LT(directional_error(loss, problem.dt_bias, g.ddt_bias), 1e-6);
    EXPECT_LT(directional_error(loss, problem.dt_mask, g.ddt_mask), 1e-6);
  }
}
}  // namespace
