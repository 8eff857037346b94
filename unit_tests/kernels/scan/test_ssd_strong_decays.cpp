// SPDX-License-Identifier: Apache-2.0
// The scan where Delta A is large: sums of a chunk reach tens of thousands there, while the decays
// between neighbours still count to the last digit. Outputs and all gradients against the fp64
// recurrence, at every chunk size.
#include <cmath>

#include "unit_tests/kernels/scan/reference_ssd_gradients.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"

using namespace elastic;
using namespace elastic::test;
using kernels::SsdShape;

namespace {
constexpr index_t length = 256, batch = 2;

/// A from 1 to 16. A part `rare` of the positions have steps of about 20, the others steps from
/// e^-8 to 1: strong decays beside weak ones.
template <class T>
SsdProblem<T> strong(index_t chunk, bool extras, double rare = 0.2) {
  SsdProblem<T> problem({batch, length, 4, 5, 2, 6, chunk}, extras, 11);
  const auto choice = random_values<double>(batch * length * 4, 61, 0, 1),
             weak = random_values<double>(batch * length * 4, 62, -8, 0.5);
  std::vector<T> raw(choice.size());
  for (std::size_t i = 0; i < raw.size(); ++i)
    raw[i] = static_cast<T>(choice[i] < rare ? 20 : weak[i]);
  assign(problem.dt_raw, raw);
  using A = Accumulate<T>;
  assign(problem.A_log, std::vector<A>{A(std::log(16.0)), 0, A(std::log(4.0)), A(std::log(16.0))});
  Kokkos::deep_copy(problem.dt_bias, A(0.25));
  if (extras) Kokkos::deep_copy(problem.dt_mask, A(1));
  if (extras) {  // documents of hundreds of positions
    std::vector<token_t> segment(batch * length, 1);
    std::fill(segment.begin() + 100, segment.begin() + length, 2);
    std::fill(segment.begin() + length + 230, segment.end(), 3);
    assign(problem.segment, segment);
  }
  return problem;
}

template <class T>
class SsdStrongDecays : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(SsdStrongDecays, Scalars);

template <class T>
void expect_gradients(const kernels::SsdGradients<T>& g, const ReferenceSsdGradients& expected,
                      double tol) {
  EXPECT_TRUE(near(g.dx, expected.x, tol)) << "dx";
  EXPECT_TRUE(near(g.dssm_B, expected.ssm_B, tol)) << "dB";
  EXPECT_TRUE(near(g.dssm_C, expected.ssm_C, tol)) << "dC";
  EXPECT_TRUE(near(g.ddt_raw, expected.dt_raw, tol)) << "ddt_raw";
  EXPECT_TRUE(near(g.dA_log, expected.A_log, tol)) << "dA_log";
  EXPECT_TRUE(near(g.ddt_bias, expected.dt_bias, tol)) << "ddt_bias";
  EXPECT_TRUE(near(g.dssm_D, expected.ssm_D, tol)) << "dD";
  EXPECT_TRUE(near(g.ddt_mask, expected.dt_mask, tol)) << "ddt_mask";
}

TYPED_TEST(SsdStrongDecays, EqualTheRecurrenceAtAnyChunkSize) {
  using T = TypeParam;
  for (const bool extras : {false, true})
    for (const index_t chunk : {1, 16, 64, 256}) {
      SCOPED_TRACE(fmt::format("chunk {}, extras {}", chunk, extras));
      auto problem = strong<T>(chunk, extras);
      const double tol = scan_tolerance<T>(16);
      EXPECT_TRUE(near(problem.forward(), reference_ssd(problem.shape, problem.reference()), tol));
      problem.backward();
      expect_gradients(
          problem.gradients,
          reference_ssd_gradients(problem.shape, problem.reference(), to_double(problem.dy)), tol);
    }
}

/// Every step is about 20: the gradient by A is nearly nothing, and stays so.
TYPED_TEST(SsdStrongDecays, GradientsVanishWhereNothingIsRemembered) {
  using T = TypeParam;
  for (const index_t chunk : {1, 64, 256}) {
    auto problem = strong<T>(chunk, false, 2);
    problem.forward(), problem.backward();
    for (const double value : to_double(problem.gradients.dA_log)) EXPECT_LT(std::abs(value), 1e-4);
    expect_gradients(
        problem.gradients,
        reference_ssd_gradients(problem.shape, problem.reference(), to_double(problem.dy)),
        scan_tolerance<T>(16));
  }
}

/// Any rate below infinity: a step either forgets everything or, where Delta is 0, nothing.
TYPED_TEST(SsdStrongDecays, TheLargestRatesForgetEverything) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t chunk : {1, 16, 256}) {
    auto problem = strong<T>(chunk, false);
    Kokkos::deep_copy(problem.A_log, std::is_same_v<A, float> ? A(88) : A(700));
    EXPECT_TRUE(near(problem.forward(), reference_ssd(problem.shape, problem.reference()),
                     scan_tolerance<T>(16)));
    problem.backward();
    for (const double value : to_double(problem.gradients.ddt_raw))
      EXPECT_TRUE(std::isfinite(value));
    for (const double value : to_double(problem.gradients.dA_log)) EXPECT_EQ(value, 0);
  }
}

/// Generation advances the same recurrence.
TYPED_TEST(SsdStrongDecays, StepsEqualTheScan) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const double A_log : {std::log(16.0), 80.0}) {
    auto problem = strong<T>(256, false);
    Kokkos::deep_copy(problem.A_log, static_cast<A>(A_log));
    const auto whole = to_host(problem.forward());
    SsdShape one = problem.shape;
    one.batch = one.seq_length = 1;
    const View2<A> state("elastic::test::state", 4, 30);
    const View2<T> y("elastic::test::y", 1, 20);
    for (index_t t = 0; t < length; ++t) {
      auto in = problem.inputs();
      in.x = rows(problem.x, t, t + 1);
      in.ssm_B = rows(problem.ssm_B, t, t + 1);
      in.ssm_C = rows(problem.ssm_C, t, t + 1);
      in.dt_raw = rows(problem.dt_raw, t, t + 1);
      kernels::ssd_step<T>(ExecutionSpace(), one, in, state, state, y);
      const std::vector<T> expected(whole.begin() + t * 20, whole.begin() + (t + 1) * 20);
      EXPECT_TRUE(near(y, expected, scan_tolerance<T>(16))) << "position " << t;
    }
  }
}
}  // namespace
