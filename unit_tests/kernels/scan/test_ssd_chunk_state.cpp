// SPDX-License-Identifier: Apache-2.0
// Steps 2 and 3 of the chunked scan: states of chunks against the recurrence, and their gradients,
// which are defined together.
#include "kernels/scan/ssd_chunk_state.hpp"

#include "kernels/scan/ssd_state_passing.hpp"
#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

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
using Scalars = testing::Types<bfloat16, float, double>;
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
      EXPECT_TRUE(near(problem.saved.states, expected, scan_tolerance<TypeParam>(shape.seq_length)))
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
      const auto weights = random_matrix<double>(shape.num_states(), size, 41),
                 exponents = random_matrix<double>(shape.num_tokens(), shape.num_heads, 42, -1, 0);
      const auto loss = [&] {
        problem.saved.dA_cumsum = sums_in_chunks(shape, exponents, to_host(problem.segment));
        forward(problem);
        return dot(problem.saved.states, weights);
      };
      loss();
      const auto work = problem.workspace();
      Kokkos::deep_copy(work.dstates, weights);
      Kokkos::deep_copy(work.ddt, 0.0);
      Kokkos::deep_copy(work.ddA, 0.0);
      const auto in = problem.inputs();
      kernels::ssd_state_passing_backward<double>(ExecutionSpace(), shape, in, problem.saved, work,
                                                  problem.gradients);
      kernels::ssd_chunk_state_backward<double>(ExecutionSpace(), shape, in, problem.saved, work,
                                                problem.gradients);
      EXPECT_LT(directional_error(loss, problem.x, problem.gradients.dx), 1e-6);
      EXPECT_LT(directional_error(loss, problem.ssm_B, problem.gradients.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, problem.saved.dt, work.ddt), 1e-6);
      EXPECT_LT(directional_error(loss, exponents, work.ddA), 1e-6);
    }
}

/// Z of every chunk as its equation says, in double.
template <class T>
std::vector<double> naive_contributions(const SsdProblem<T>& p) {
  const SsdShape& s = p.shape;
  const auto x = to_double(p.x), B = to_double(p.ssm_B), dt = to_double(p.saved.dt),
             cumsum = sums_of(p.saved.dA_cumsum);
  const auto segment = to_host(p.segment);
  std::vector<double> Z;
  for (index_t b = 0; b < s.batch; ++b)
    for (index_t k = 0; k < s.num_chunks(); ++k)
      for (index_t h = 0; h < s.num_heads; ++h) {
        const index_t first = b * s.seq_length + k * s.chunk_size,
                      end = b * s.seq_length + std::min(s.seq_length, (k + 1) * s.chunk_size),
                      g = h % s.num_groups, at = static_cast<index_t>(Z.size());
        Z.resize(Z.size() + s.head_dim * s.state_dim);
        for (index_t j = end - 1; j >= first; --j) {
          if (!segment.empty() && segment[j] != segment[end - 1]) break;
          const double factor =
              std::exp(cumsum[(end - 1) * s.num_heads + h] - cumsum[j * s.num_heads + h]) *
              dt[j * s.num_heads + h];
          for (index_t i = 0; i < s.head_dim * s.state_dim; ++i)
            Z[at + i] += factor * x[(j * s.num_heads + h) * s.head_dim + i / s.state_dim] *
                         B[(j * s.num_groups + g) * s.state_dim + i % s.state_dim];
        }
      }
  return Z;
}

TYPED_TEST(SsdChunkState, ContributionsEqualTheirEquation) {
  using T = TypeParam;
  for (const auto& shape : shapes)
    for (const bool extras : {false, true}) {
      SsdProblem<T> problem(shape, extras);
      problem.forward();  // for dt and the sums
      kernels::ssd_chunk_state_forward<T>({}, shape, problem.inputs(), problem.saved);
      EXPECT_TRUE(
          near(problem.saved.states, naive_contributions(problem), tolerance<T>(shape.chunk_size)))
          << describe(shape);
    }
}

TYPED_TEST(SsdChunkState, IsLinearInX) {
  using T = TypeParam;
  SsdProblem<T> a(shapes[0], true, 7), b(shapes[0], true, 7), sum(shapes[0], true, 7);
  const auto coarse = [](std::uint32_t seed) {  // multiples of 2^-6, whose sums are exact
    auto values = random_values<double>(74 * 30, seed);
    for (double& value : values) value = std::round(64 * value) / 64;
    return values;
  };
  auto values = coarse(49), other = coarse(50);
  a.x = to_device(stored<T>(values), 74, 30);
  b.x = to_device(stored<T>(other), 74, 30);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += other[i];
  sum.x = to_device(stored<T>(values), 74, 30);
  std::vector<std::vector<double>> states;
  for (auto* p : {&a, &b, &sum}) {
    p->forward();
    kernels::ssd_chunk_state_forward<T>({}, p->shape, p->inputs(), p->saved);
    states.push_back(to_double(p->saved.states));
  }
  for (std::size_t i = 0; i < states[0].size(); ++i) states[0][i] += states[1][i];
  EXPECT_TRUE(near(states[2], states[0], tolerance<T>(16)));
}

/// Without a gradient by the state after the last token, the last chunk of a sequence gets none.
TEST(SsdChunkState, TheLastChunkCountsOnlyWhereTheSequenceGoesOn) {
  const SsdShape shape{1, 8, 2, 3, 1, 4, 4};
  for (const bool goes_on : {false, true}) {
    SsdProblem<double> p(shape, false);
    p.saved.final_state = View2<double>("elastic::test::final", 2, 12);
    p.forward();
    const auto work = p.workspace();
    Kokkos::deep_copy(work.dstates, 1.0);
    Kokkos::deep_copy(work.ddt, 0.0);
    Kokkos::deep_copy(work.ddA, 0.0);
    if (goes_on) p.gradients.dfinal_state = random_matrix<double>(2, 12, 3);
    kernels::ssd_chunk_state_backward<double>({}, shape, p.inputs(), p.saved, work, p.gradients);
    const auto ddt = to_host(work.ddt);
    for (index_t t = 0; t < 8; ++t)
      for (index_t h = 0; h < 2; ++h)
        EXPECT_EQ(ddt[t * 2 + h] != 0, t < 4 || goes_on) << t << " " << h;
  }
}

TEST(SsdChunkState, WrongExtentsAreNamed) {
  SsdProblem<float> p({2, 8, 4, 3, 2, 5, 4}, false);
  const auto with = [&](const auto& change, const std::string& text) {
    auto in = p.inputs();
    auto saved = p.saved;
    auto gradients = p.gradients;
    change(in, saved, gradients);
    const auto work = p.workspace();
    return refuses(
        [&] { kernels::ssd_chunk_state_backward<float>({}, p.shape, in, saved, work, gradients); },
        text);
  };
  const auto bad = random_matrix<float>(16, 7, 1);
  EXPECT_TRUE(with([&](auto& in, auto&, auto&) { in.x = bad; }, "x is [16, 7], expected [16, 12]"));
  EXPECT_TRUE(
      with([&](auto& in, auto&, auto&) { in.ssm_B = bad; }, "ssm_B is [16, 7], expected [16, 10]"));
  EXPECT_TRUE(with([&](auto&, auto& saved, auto&) { saved.dt = bad; }, "dt is [16, 7]"));
  EXPECT_TRUE(with([&](auto&, auto& saved, auto&) { saved.states = bad; },
                   "states is [16, 7], expected [16, 15]"));
  EXPECT_TRUE(with([&](auto&, auto&, auto& g) { g.dx = bad; }, "dx is [16, 7]"));
  EXPECT_TRUE(with([&](auto&, auto&, auto& g) { g.dssm_B = bad; }, "dssm_B is [16, 7]"));
  EXPECT_TRUE(with([&](auto& in, auto&, auto&) { in.incoming.state = bad; },
                   "incoming state is [16, 7], expected [8, 15]"));
}
}  // namespace
