// SPDX-License-Identifier: Apache-2.0
// Step 4 of the chunked scan by itself: gradients of all its inputs, given states included.
// Its outputs: test_ssd.cpp.
#include "kernels/scan/ssd_chunk_scan.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
TEST(SsdChunkScan, GradientsEqualFiniteDifferences) {
  for (const auto& shape :
       {kernels::SsdShape{2, 37, 6, 5, 3, 18, 8}, kernels::SsdShape{1, 50, 2, 17, 1, 16, 32}})
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape));
      SsdProblem<double> p(shape, extras);
      p.forward();
      const auto loss = [&] {
        kernels::ssd_chunk_scan_forward<double>(ExecutionSpace(), shape, p.inputs(), p.saved, p.y);
        return dot(p.y, p.dy);
      };
      const auto work = p.workspace();
      const auto& g = p.gradients;
      kernels::ssd_chunk_scan_backward<double>(ExecutionSpace(), shape, p.inputs(), p.saved, p.dy,
                                               work, g);
      EXPECT_LT(directional_error(loss, p.saved.states, work.dstates), 1e-6);
      EXPECT_LT(directional_error(loss, p.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, p.saved.dt, work.ddt), 1e-6);
      EXPECT_LT(directional_error(loss, p.saved.dA_cumsum, work.ddA_cumsum), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_D, g.dssm_D), 1e-6);
    }
}
}  // namespace
