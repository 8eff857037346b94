// SPDX-License-Identifier: Apache-2.0
// Step 1 of the chunked scan against its equations and finite differences.
#include "kernels/scan/ssd_chunk_cumsum.hpp"

#include <cmath>

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

using namespace elastic;
using namespace elastic::test;

namespace {
template <class T>
void forward(const SsdProblem<T>& p) {
  kernels::ssd_chunk_cumsum_forward<T>(ExecutionSpace(), p.shape, p.inputs(), p.saved);
}

template <class T>
class SsdChunkCumsum : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
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
    EXPECT_TRUE(near(sums_of(problem.saved.dA_cumsum), cumsum, tolerance<TypeParam>(8)));
  }
}

TEST(SsdChunkCumsum, GradientsEqualFiniteDifferences) {
  for (const bool extras : {false, true}) {
    SsdProblem<double> problem({2, 37, 18, 1, 1, 1, 8}, extras);
    const auto weights_dt = random_matrix<double>(74, 18, 31),
               weights_exponent = random_matrix<double>(74, 18, 32);
    const auto loss = [&] {  // of dt and of dt A
      forward(problem);
      const auto dt = to_host(problem.saved.dt), A_log = to_host(problem.A_log);
      std::vector<double> exponents;
      for (std::size_t i = 0; i < dt.size(); ++i)
        exponents.push_back(-dt[i] * std::exp(A_log[i % 18]));
      return dot(problem.saved.dt, weights_dt) + dot(exponents, weights_exponent);
    };
    loss();
    const auto& g = problem.gradients;
    auto work = problem.workspace();
    work.ddt = weights_dt;
    work.ddA = weights_exponent;
    kernels::ssd_chunk_cumsum_backward<double>(ExecutionSpace(), problem.shape, problem.inputs(),
                                               problem.saved, work, g);
    EXPECT_LT(directional_error(loss, problem.dt_raw, g.ddt_raw), 1e-6);
    EXPECT_LT(directional_error(loss, problem.A_log, g.dA_log), 1e-6);
    EXPECT_LT(directional_error(loss, problem.dt_bias, g.ddt_bias), 1e-6);
    EXPECT_LT(directional_error(loss, problem.dt_mask, g.ddt_mask), 1e-6);
  }
}

TYPED_TEST(SsdChunkCumsum, ADocumentHasTheBitsItHasAlone) {
  using T = TypeParam;
  SsdProblem<T> packed({1, 16, 5, 1, 1, 1, 16}, false), alone({1, 9, 5, 1, 1, 1, 16}, false);
  std::vector<token_t> segment(16, 1);
  std::fill(segment.begin() + 7, segment.end(), 2);
  packed.segment = to_device(segment);
  alone.dt_raw = clone(rows(packed.dt_raw, 7, 16));
  alone.A_log = packed.A_log;
  alone.dt_bias = packed.dt_bias;
  forward(packed), forward(alone);
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.saved.dA_cumsum, 7, 16)), alone.saved.dA_cumsum));
  EXPECT_TRUE(bitwise_equal(clone(rows(packed.saved.dt, 7, 16)), alone.saved.dt));
}

TYPED_TEST(SsdChunkCumsum, ParameterGradientsAccumulateAndRepeatBitwise) {
  using T = TypeParam;
  SsdProblem<T> once({2, 37, 6, 1, 1, 1, 8}, true), twice({2, 37, 6, 1, 1, 1, 8}, true);
  const auto backward = [](SsdProblem<T>& p) {
    forward(p);
    auto work = p.workspace();
    work.ddt = random_matrix<Accumulate<T>>(74, 6, 31);
    work.ddA = random_matrix<Accumulate<T>>(74, 6, 32);
    kernels::ssd_chunk_cumsum_backward<T>(ExecutionSpace(), p.shape, p.inputs(), p.saved, work,
                                          p.gradients);
  };
  backward(once), backward(twice);
  EXPECT_TRUE(bitwise_equal(once.gradients.ddt_raw, twice.gradients.ddt_raw));
  EXPECT_TRUE(bitwise_equal(once.gradients.ddt_mask, twice.gradients.ddt_mask));
  backward(twice);
  for (const auto member : {&kernels::SsdGradients<T>::dA_log, &kernels::SsdGradients<T>::ddt_bias,
                            &kernels::SsdGradients<T>::ddt_mask}) {
    auto doubled = to_double(once.gradients.*member);
    for (double& value : doubled) value *= 2;
    EXPECT_TRUE(near(twice.gradients.*member, doubled, tolerance<T>(1)));
  }
  // The gradient of the projection is overwritten.
  EXPECT_TRUE(bitwise_equal(once.gradients.ddt_raw, twice.gradients.ddt_raw));
}

TEST(SsdChunkCumsum, WrongExtentsAreNamed) {
  SsdProblem<float> p({2, 8, 4, 1, 1, 1, 4}, true);
  const auto with = [&](const auto& change, const std::string& text) {
    auto in = p.inputs();
    auto saved = p.saved;
    change(in, saved);
    return refuses([&] { kernels::ssd_chunk_cumsum_forward<float>({}, p.shape, in, saved); }, text);
  };
  const auto matrix = random_matrix<float>(16, 5, 1);
  const auto vector = random_vector<float>(5, 1);
  EXPECT_TRUE(
      with([&](auto& in, auto&) { in.dt_raw = matrix; }, "dt_raw is [16, 5], expected [16, 4]"));
  EXPECT_TRUE(with([&](auto& in, auto&) { in.A_log = vector; }, "A_log is [5], expected [4]"));
  EXPECT_TRUE(with([&](auto& in, auto&) { in.dt_bias = vector; }, "dt_bias is [5]"));
  EXPECT_TRUE(with([&](auto& in, auto&) { in.dt_mask = vector; }, "dt_mask is [5]"));
  EXPECT_TRUE(with([&](auto& in, auto&) { in.segment = View1<token_t>("elastic::test::s", 15); },
                   "segment is [15], expected [16]"));
  EXPECT_TRUE(with([&](auto&, auto& saved) { saved.dt = matrix; }, "dt is [16, 5]"));
  EXPECT_TRUE(with([&](auto&, auto& saved) { saved.dA_cumsum = matrix; },
                   "dA_cumsum is [16, 5], expected [16, 8]"));
}
}  // namespace
