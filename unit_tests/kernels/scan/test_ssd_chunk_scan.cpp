// SPDX-License-Identifier: Apache-2.0
// Step 4 of the chunked scan by itself: gradients of all its inputs, given states included.
// Its outputs: test_ssd.cpp.
#include "kernels/scan/ssd_chunk_scan.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
TEST(SsdChunkScan, gradients_equal_finite_differences) {
  for (const auto& shape :
       {kernels::SsdShape{2, 37, 6, 5, 3, 18, 8}, kernels::SsdShape{1, 50, 2, 17, 1, 16, 32}})
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape));
      SsdProblem<double> p(shape, extras);
      p.forward();
      const auto loss = [&] {
        kernels::ssd_chunk_scan_forward<double>(ExecutionSpace(), shape, p.saved.states, p.x,
                                                p.ssm_B, p.ssm_C, p.saved.dt, p.saved.dA_cumsum,
                                                p.ssm_D, p.segment, p.y);
        return dot(p.y, p.dy);
      };
      const auto dstates = clone(p.saved.states), ddt = clone(p.saved.dt),
                 ddA_cumsum = clone(p.saved.dt);
      const View1<double> workspace("elastic::test::workspace",
                                    kernels::ssd_chunk_scan_workspace_size(shape));
      const auto& g = p.gradients;
      kernels::ssd_chunk_scan_backward<double>(ExecutionSpace(), shape, p.dy, p.saved.states, p.x,
                                               p.ssm_B, p.ssm_C, p.saved.dt, p.saved.dA_cumsum,
                                               p.ssm_D, p.segment, dstates, g.dx, g.dssm_B,
                                               g.dssm_C, ddt, ddA_cumsum, g.dssm_D, workspace);
      EXPECT_LT(directional_error(loss, p.saved.states, dstates), 1e-6);
      EXPECT_LT(directional_error(loss, p.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, p.saved.dt, ddt), 1e-6);
      EXPECT_LT(directional_error(loss, p.saved.dA_cumsum, ddA_cumsum), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_D, g.dssm_D), 1e-6);
    }
}
}  // namespace
