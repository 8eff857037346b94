// SPDX-License-Identifier: Apache-2.0
// Step 4 of the chunked scan by itself: gradients of all its inputs, given states included.
// Its outputs: test_ssd.cpp.
#include "kernels/scan/ssd_chunk_scan.hpp"

#include "unit_tests/kernels/scan/ssd_problem.hpp"
#include "unit_tests/support/gradient.hpp"
#include "unit_tests/kernels/contract.hpp"

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
      const auto exponents = random_matrix<double>(shape.num_tokens(), shape.num_heads, 3, -1, 0);
      const auto loss = [&] {
        p.saved.dA_cumsum = sums_in_chunks(shape, exponents, to_host(p.segment));
        kernels::ssd_chunk_scan_forward<double>(ExecutionSpace(), shape, p.inputs(), p.saved, p.y);
        return dot(p.y, p.dy);
      };
      const auto work = p.workspace();
      const auto& g = p.gradients;
      loss();
      kernels::ssd_chunk_scan_backward<double>(ExecutionSpace(), shape, p.inputs(), p.saved, p.dy,
                                               work, g);
      EXPECT_LT(directional_error(loss, p.saved.states, work.dstates), 1e-6);
      EXPECT_LT(directional_error(loss, p.x, g.dx), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_B, g.dssm_B), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_C, g.dssm_C), 1e-6);
      EXPECT_LT(directional_error(loss, p.saved.dt, work.ddt), 1e-6);
      EXPECT_LT(directional_error(loss, exponents, work.ddA), 1e-6);
      EXPECT_LT(directional_error(loss, p.ssm_D, g.dssm_D), 1e-6);
    }
}

/// Outputs as the equation of the step says, from given states, in double.
std::vector<double> naive_outputs(const SsdProblem<double>& p) {
  const kernels::SsdShape& s = p.shape;
  const index_t H = s.num_heads, P = s.head_dim, G = s.num_groups, N = s.state_dim;
  const auto x = to_host(p.x), B = to_host(p.ssm_B), C = to_host(p.ssm_C), D = to_host(p.ssm_D),
             dt = to_host(p.saved.dt), cumsum = sums_of(p.saved.dA_cumsum),
             states = to_host(p.saved.states);
  const auto segment = to_host(p.segment);
  const auto same = [&](index_t i, index_t j) {
    return segment.empty() || segment[i] == segment[j];
  };
  std::vector<double> y(x.size());
  for (index_t t = 0; t < s.num_tokens(); ++t)
    for (index_t h = 0; h < H; ++h) {
      const index_t position = t % s.seq_length, k = position / s.chunk_size,
                    first = t - position % s.chunk_size, g = h % G,
                    row = (t / s.seq_length * s.num_chunks() + k) * H + h;
      bool whole = k > 0;  // the state counts: one document from before the chunk up to here
      for (index_t j = first; whole && j <= t; ++j) whole = same(j, j - 1);
      for (index_t q = 0; q < P; ++q) {
        double sum = D[h] * x[(t * H + h) * P + q];
        bool sees = true;
        for (index_t j = t; j >= first && sees; --j) {
          sees = j == t || same(j, j + 1);
          double score = 0;
          for (index_t n = 0; n < N; ++n) score += C[(t * G + g) * N + n] * B[(j * G + g) * N + n];
          if (sees)
            sum += std::exp(cumsum[t * H + h] - cumsum[j * H + h]) * score * dt[j * H + h] *
                   x[(j * H + h) * P + q];
        }
        for (index_t n = 0; whole && n < N; ++n)
          sum += std::exp(cumsum[t * H + h]) * states[row * P * N + q * N + n] *
                 C[(t * G + g) * N + n];
        y[(t * H + h) * P + q] = sum;
      }
    }
  return y;
}

TEST(SsdChunkScan, OutputsEqualTheirEquation) {
  for (const auto& shape :
       {kernels::SsdShape{2, 37, 6, 5, 3, 18, 8}, kernels::SsdShape{1, 40, 2, 17, 1, 16, 32}})
    for (const bool extras : {false, true}) {
      SsdProblem<double> p(shape, extras);
      p.forward();
      p.saved.states =
          random_matrix<double>(shape.num_states(), shape.head_dim * shape.state_dim, 9);
      kernels::ssd_chunk_scan_forward<double>({}, shape, p.inputs(), p.saved, p.y);
      EXPECT_TRUE(near(p.y, naive_outputs(p), 1e-12)) << describe(shape);
    }
}

TEST(SsdChunkScan, RepeatsBitwiseAndWritesNothingBesideY) {
  const kernels::SsdShape shape{2, 37, 6, 5, 3, 18, 8};
  SsdProblem<float> p(shape, true);
  p.forward();
  kernels::ssd_chunk_scan_forward<float>({}, shape, p.inputs(), p.saved, p.y);
  const auto expected = clone(p.y);
  const auto parent = random_matrix<float>(75, 33, 5);
  const auto before = to_host(parent);
  kernels::ssd_chunk_scan_forward<float>({}, shape, p.inputs(), p.saved, prefix(parent, 74, 30));
  EXPECT_TRUE(bitwise_equal(to_host(prefix(parent, 74, 30)), to_host(expected)));
  const auto after = to_host(parent);
  for (index_t i = 0; i < 75; ++i)
    for (index_t j = 0; j < 33; ++j)
      if (i == 74 || j >= 30) {
        EXPECT_EQ(after[i * 33 + j], before[i * 33 + j]) << i << " " << j;
      }
}

TEST(SsdChunkScan, WrongExtentsAreNamed) {
  SsdProblem<float> p({2, 8, 4, 3, 2, 5, 4}, false);
  const auto with = [&](const auto& change, const std::string& text) {
    auto in = p.inputs();
    auto saved = p.saved;
    auto gradients = p.gradients;
    auto dy = p.dy;
    change(in, saved, gradients, dy);
    const auto work = p.workspace();
    return refuses(
        [&] {
          kernels::ssd_chunk_scan_backward<float>({}, p.shape, in, saved, dy, work, gradients);
        },
        text);
  };
  const auto bad = random_matrix<float>(16, 7, 1);
  EXPECT_TRUE(with([&](auto& in, auto&, auto&, auto&) { in.x = bad; }, "x is [16, 7]"));
  EXPECT_TRUE(with([&](auto& in, auto&, auto&, auto&) { in.ssm_B = bad; }, "ssm_B is [16, 7]"));
  EXPECT_TRUE(with([&](auto& in, auto&, auto&, auto&) { in.ssm_C = bad; }, "ssm_C is [16, 7]"));
  EXPECT_TRUE(with([&](auto& in, auto&, auto&, auto&) { in.ssm_D = random_vector<float>(3, 1); },
                   "ssm_D is [3], expected [4]"));
  EXPECT_TRUE(
      with([&](auto&, auto& saved, auto&, auto&) { saved.states = bad; }, "states is [16, 7]"));
  EXPECT_TRUE(with([&](auto&, auto&, auto&, auto& dy) { dy = bad; }, "dy is [16, 7]"));
  EXPECT_TRUE(with([&](auto&, auto&, auto& g, auto&) { g.dssm_C = bad; }, "dssm_C is [16, 7]"));
  EXPECT_TRUE(with([&](auto&, auto&, auto& g, auto&) { g.dssm_D = random_vector<float>(3, 1); },
                   "dssm_D is [3]"));
}
}  // namespace
