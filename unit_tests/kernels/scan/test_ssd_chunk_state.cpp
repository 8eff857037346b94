// SPDX-License-Identifier: Apache-2.0
// Steps 2 and 3 of the chunked scan: states of chunks against the recurrence, and their gradients,
// which are defined together.
#include "kernels/scan/ssd_chunk_state.hpp"

#include "kernels/scan/ssd_state_passing.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
const std::vector<SsdShape> shapes = {
    {2, 37, 6, 5, 3, 18, 8}, {1, 64, 2, 16, 1, 16, 16}, {1, 9, 4, 17, 2, 3, 64}};

template <class T>
void forward(const SsdProblem<T>& p) {
  kernels::ssd_chunk_state_forward<T>(ExecutionSpace(), p.shape, p.inputs(), p.saved);
  kernels::ssd_state_passing_forward<T>(ExecutionSpace(), p.shape, p.inputs(), p.saved);
}

template <class T>
class SsdChunkState : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(SsdChunkState, Scalars);

TYPED_TEST(SsdChunkState, PassedStatesEqualTheRecurrence) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SsdProblem<TypeParam> problem(shape, extras);
      problem.forward();
      std::vector<double> states;
      reference_ssd(shape, problem.reference(), &states);
      const index_t size = shape.num_heads * shape.head_dim * shape.state_dim;
      std::vector<double> expected;
      for (index_t b = 0; b < shape.batch; ++b)
        for (index_t k = 0; k < shape.num_chunks(); ++k) {
          const auto last =
              states.begin() + (b * shape.seq_length + k * shape.chunk_size - 1) * size;
          if (k == 0)
            expected.resize(expected.size() + size);
          else
            expected.insert(expected.end(), last, last + size);
        }
      EXPECT_TRUE(near(problem.saved.states, expected, tolerance<TypeParam>(shape.seq_length)))
          << describe(shape);
    }
}

TEST(SsdChunkState, GradientsEqualFiniteDifferences) {
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SCOPED_TRACE(describe(shape));
      SsdProblem<double> problem(shape, extras);
      problem.forward();
      const index_t size = shape.head_dim * shape.state_dim;
      const auto weights = random_matrix<double>(shape.num_states(), size, 41);
      const auto loss = [&] {
        forward(problem);
        return dot(problem.saved.states, weights);
      };
      const auto work = problem.workspace();
      Kokkos::deep_copy(work.dstates, weights);
      Kokkos::deep_copy(work.ddt, 0.0);
      Kokkos::deep_copy(work.ddA_cumsum, 0.0);
      const auto in = problem.inputs();
      kernels::ssd_state_passing_backward<double>(ExecutionSpace(), shape, in, problem.saved, work,
                                                  problem.gradients);
      kernels::ssd_chunk_state_backward<double>(ExecutionSpace(), shape, in, problem.saved, work,
                                                problem.gradients);
      EXPECT_LT(directional_error(loss, problem.x, problem.gradients.dx), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_B, problem.gradients.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, problem.saved.dt, work.ddt), 1e-6);
      EXPECT_LT(directional_error(loss, problem.saved.dA_cumsum, work.ddA_cumsum), 1e-6);
    }
}
}  // namespace
