// SPDX-License-Identifier: Apache-2.0
// What the steps of the scan share: where chunks lie, which positions see each other, decays.
#include "kernels/scan/ssd_chunk.hpp"

#include <cmath>

#include "unit_tests/kernels/scan/ssd_problem.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

TEST(Softplus, IsAccurateWhereTheDefinitionOverflowsOrCancels) {
  for (const double x : {-700.0, -40.0, -1.0, 0.0, 1.0, 40.0})
    EXPECT_NEAR(softplus(x) / std::log1p(std::exp(x)), 1, 1e-14) << x;
  EXPECT_EQ(softplus(1000.0), 1000.0);
  EXPECT_EQ(softplus(1e5f), 1e5f);
  EXPECT_GT(softplus(-80.0f), 0.0f);
  EXPECT_TRUE(std::isnan(softplus(std::nan(""))));
}

TEST(Chunk, CoversEveryTokenOnce) {
  for (const SsdShape& shape : {SsdShape{1, 1, 1, 1, 1, 1, 4}, SsdShape{3, 37, 2, 1, 1, 1, 8},
                                SsdShape{2, 16, 2, 1, 1, 1, 8}, SsdShape{2, 5, 2, 1, 1, 1, 64}}) {
    std::vector<int> seen(shape.num_tokens(), 0);
    for (index_t row = 0; row < shape.batch * shape.num_chunks(); ++row) {
      const Chunk chunk(shape, {}, row);
      for (index_t t = chunk.first; t < chunk.first + chunk.tokens; ++t) ++seen.at(t);
      EXPECT_EQ(chunk.is_last, (chunk.first + chunk.tokens) % shape.seq_length == 0);
      EXPECT_EQ(chunk.continues, chunk.first % shape.seq_length != 0);  // one document
    }
    EXPECT_EQ(seen, std::vector<int>(shape.num_tokens(), 1)) << describe(shape);
  }
}

TEST(Chunk, GoesOnOnlyInItsDocument) {
  const SsdShape shape{2, 6, 1, 1, 1, 1, 2};
  const auto segment = to_device(std::vector<token_t>{5, 5, 5, 6, 7, 7, 7, 7, 7, 7, 7, 8});
  const auto continues = [&](const SsdBefore& before) {
    std::vector<bool> result;
    for (index_t row = 0; row < 6; ++row)
      result.push_back(Chunk(shape, segment, row, before).continues);
    return result;
  };
  EXPECT_EQ(continues({}), (std::vector<bool>{false, true, false, false, true, true}));
  // What comes in belongs to document 4 in the first sequence, to 7 in the second.
  EXPECT_EQ(continues({true, to_device(std::vector<token_t>{4, 7})}),
            (std::vector<bool>{false, true, false, true, true, true}));
  EXPECT_TRUE(Chunk(shape, {}, 0, {true, {}}).continues);
}

/// begin and end of find_runs for every position of chunk `row`.
std::pair<std::vector<int>, std::vector<int>> runs(const SsdShape& shape,
                                                   const View1<const token_t>& segment,
                                                   index_t row) {
  const auto n = static_cast<index_t>(Chunk(shape, segment, row).tokens);
  const View1<int> begin("elastic::test::begin", n), end("elastic::test::end", n);
  Kokkos::parallel_for(
      "elastic::test::find_runs", Kokkos::TeamPolicy<ExecutionSpace>(1, Kokkos::AUTO),
      KOKKOS_LAMBDA(const Team& team) {
        find_runs(team, Chunk(shape, segment, row), segment, begin.data(), end.data());
      });
  return {to_host(begin), to_host(end)};
}

TEST(FindRuns, GivesTheDocumentOfEachPosition) {
  const SsdShape shape{1, 7, 1, 1, 1, 1, 5};
  const auto segment = to_device(std::vector<token_t>{1, 1, 2, 1, 1, 1, 3});
  const auto [begin, end] = runs(shape, segment, 0);
  EXPECT_EQ(begin, (std::vector<int>{0, 0, 2, 3, 3}));
  EXPECT_EQ(end, (std::vector<int>{2, 2, 3, 5, 5}));
  const auto [last_begin, last_end] = runs(shape, segment, 1);  // the short chunk
  EXPECT_EQ(last_begin, (std::vector<int>{0, 1}));
  EXPECT_EQ(last_end, (std::vector<int>{1, 2}));
  const auto [whole_begin, whole_end] = runs(shape, {}, 0);
  EXPECT_EQ(whole_begin, std::vector<int>(5, 0));
  EXPECT_EQ(whole_end, std::vector<int>(5, 5));
}

/// Rows: delta, cumsum, from_start, to_end of head 1 in chunk `row`, all of the padded length.
template <class T>
std::vector<std::vector<T>> decays(const SsdShape& shape, const View1<const token_t>& segment,
                                   const View2<const T>& dt, const View2<T>& cumsum, index_t row) {
  const index_t length = padded(shape.chunk_size);
  ScratchCarver counter(nullptr);
  counter.take<int>(length), counter.take<int>(length);
  HeadDecays<T>(counter, shape.chunk_size);
  const index_t bytes = counter.bytes();
  const View2<T> result("elastic::test::decays", 4, length);
  const View2<const T> words = two_words(cumsum);
  Kokkos::TeamPolicy<ExecutionSpace> policy(1, Kokkos::AUTO);
  policy.set_scratch_size(0, Kokkos::PerTeam(static_cast<int>(bytes + 64)));
  Kokkos::parallel_for(
      "elastic::test::decays", policy, KOKKOS_LAMBDA(const Team& team) {
        ScratchCarver carver(team.team_scratch(0).get_shmem_aligned(bytes, 64));
        int *begin = carver.take<int>(length), *end = carver.take<int>(length);
        const HeadDecays<T> head(carver, shape.chunk_size);
        const Chunk chunk(shape, segment, row);
        find_runs(team, chunk, segment, begin, end);
        head.load(team, chunk, begin, dt, words, 1);
        for_each_row(team, length, [&](const index_t i) {
          result(0, i) = head.delta[i];
          result(1, i) = head.cumsum[i];
          result(2, i) = head.from_start[i];
          result(3, i) = head.to_end[i];
        });
      });
  const auto values = to_host(result);
  std::vector<std::vector<T>> rows;
  for (index_t i = 0; i < 4; ++i)
    rows.emplace_back(values.begin() + i * length, values.begin() + (i + 1) * length);
  return rows;
}

TEST(HeadDecays, SeeTheirDocumentOnly) {
  const SsdShape shape{1, 9, 2, 1, 1, 1, 5};  // the second chunk has four positions
  const auto segment = to_device(std::vector<token_t>{1, 1, 1, 1, 1, 1, 1, 2, 2});
  const auto dt = random_matrix<double>(9, 2, 1, 0, 1),
             cumsum = random_matrix<double>(9, 2, 2, -3, 0);
  const auto h_dt = to_host(dt), h_sum = to_host(cumsum);
  const auto rows = decays<double>(shape, segment, dt, cumsum, 1);
  const double last = h_sum[8 * 2 + 1];
  for (index_t i = 0; i < static_cast<index_t>(rows[0].size()); ++i) {
    const index_t at = (5 + i) * 2 + 1;
    EXPECT_EQ(rows[0][i], i < 4 ? h_dt[at] : 0);
    EXPECT_EQ(rows[1][i], i < 4 ? h_sum[at] : 0);
    // Positions 5 and 6 go on with the document before the chunk, 7 and 8 reach its end.
    EXPECT_EQ(rows[2][i], i < 2 ? std::exp(h_sum[at]) : 0) << i;
    EXPECT_EQ(rows[3][i], i == 2 || i == 3 ? std::exp(last - h_sum[at]) : 0) << i;
  }
}

TEST(TwoWords, KeepTwiceTheDigits) {
  TwoWords<float> sum;
  double exact = 0;
  const auto terms = random_values<float>(1000, 3, -120, 0);
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const float term = i % 3 == 0 ? terms[i] * 1e-6f : terms[i];
    sum.add(term);
    exact += static_cast<double>(term);
    EXPECT_NEAR(static_cast<double>(sum.high) + static_cast<double>(sum.low), exact, 1e-8);
    EXPECT_LE(std::abs(sum.low), std::abs(sum.high) * std::numeric_limits<float>::epsilon());
  }
  EXPECT_LT(exact, -30000);
}

TEST(StepExponent, EndsWhereNothingIsLeft) {
  EXPECT_EQ(step_exponent(2.0f, -3.0f), -6.0f);
  EXPECT_EQ(step_exponent(20.0f, -3e38f), 2 * smallest_exponent<float>);
  EXPECT_EQ(step_exponent(20.0, -1e308), 2 * smallest_exponent<double>);
  EXPECT_EQ(decay_of(step_exponent(20.0f, -3e38f)), 0.0f);
  EXPECT_EQ(decay_of(0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(step_exponent(std::nanf(""), -1.0f)));
}

TEST(HeadDecays, BelowTheSmallestExponentAreZero) {
  const SsdShape shape{1, 4, 2, 1, 1, 1, 2};
  const float small = smallest_exponent<float>;
  const auto cumsum =
      to_device(std::vector<float>{0, 0, 0, 0, 0, small * 0.99f, 0, small * 1.01f}, 4, 2);
  const auto rows = decays<float>(shape, {}, clone(cumsum), cumsum, 1);
  EXPECT_GT(rows[2][0], 0.0f);
  EXPECT_EQ(rows[2][1], 0.0f);
  EXPECT_GT(rows[3][0], 0.0f);
  EXPECT_EQ(rows[3][1], 1.0f);
}

TEST(SsdShape, ExtentsThatMakeNoSenseAreContractErrors) {
  const SsdShape good{1, 8, 4, 2, 2, 3, 4};
  EXPECT_NO_THROW(require_ssd_shape("test", good));
  for (const auto member :
       {&SsdShape::batch, &SsdShape::seq_length, &SsdShape::num_heads, &SsdShape::head_dim,
        &SsdShape::num_groups, &SsdShape::state_dim, &SsdShape::chunk_size}) {
    SsdShape bad = good;
    bad.*member = 0;
    EXPECT_THROW(require_ssd_shape("test", bad), ContractError);
  }
  SsdShape uneven = good;
  uneven.num_groups = 3;
  EXPECT_THROW(require_ssd_shape("test", uneven), ContractError);
}

TEST(SsdBefore, IncomingStatesMustFit) {
  SsdProblem<float> problem({2, 8, 4, 2, 2, 3, 4}, true);
  EXPECT_FALSE(checked_before("test", problem.shape, problem.inputs()).carried);
  problem.incoming.state = random_matrix<float>(8, 6, 1);
  EXPECT_THROW(checked_before("test", problem.shape, problem.inputs()),
               ContractError);  // no segment
  problem.incoming.segment = to_device(std::vector<token_t>{1, 2});
  EXPECT_TRUE(checked_before("test", problem.shape, problem.inputs()).carried);
  problem.incoming.state = random_matrix<float>(8, 5, 1);
  EXPECT_THROW(checked_before("test", problem.shape, problem.inputs()), ContractError);
}

}  // namespace
}  // namespace elastic::kernels
