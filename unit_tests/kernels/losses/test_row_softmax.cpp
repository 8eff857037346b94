// SPDX-License-Identifier: Apache-2.0
// What the losses do with one row: sums in chains, maxima, transformed columns. The losses
// themselves: test_cross_entropy.cpp and test_kl_divergence.cpp.
#include "kernels/losses/row_softmax.hpp"

#include "unit_tests/kernels/shards.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

/// sum_v z_v and sum_v z_v^2 of every row, in the chains of `shard`: [T, 2].
template <class T>
View2<Accumulate<T>> row_sums(const View2<T>& z, const Shard& shard) {
  using A = Accumulate<T>;
  const index_t tokens = z.extent_int(0), columns = z.extent_int(1), chains = num_chains(shard);
  const View2<A> result("elastic::test::sums", tokens, 2);
  Kokkos::parallel_for(
      "elastic::test::row_sums", row_policy<T>(ExecutionSpace(), tokens, 2),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const ColumnSums<A, 2> sums(team, chains);
        const T* const row = row_of(z, t);
        sums.add_up(
            team, columns,
            [=](A* sum, bool counts, A value) {
              sum[0] += counts ? value : A(0);
              sum[sum_distance] += counts ? value * value : A(0);
            },
            row);
        Kokkos::single(Kokkos::PerTeam(team), [&]() {
          result(t, 0) = sums[0];
          result(t, 1) = sums[1];
        });
      });
  return result;
}
template <class T>
View1<Accumulate<T>> row_maxima(const View2<T>& z) {
  const index_t tokens = z.extent_int(0), columns = z.extent_int(1);
  const View1<Accumulate<T>> result("elastic::test::maxima", tokens);
  Kokkos::parallel_for(
      "elastic::test::row_maxima", row_policy<T>(ExecutionSpace(), tokens, 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        const Accumulate<T> largest = row_maximum(team, row_of(z, t), columns);
        Kokkos::single(Kokkos::PerTeam(team), [&]() { result(t) = largest; });
      });
  return result;
}
/// z_tv = 2 z_tv + other_tv in place, then rows of odd number become zero.
template <class T>
void transform(const View2<T>& z, const View2<T>& other) {
  const index_t columns = z.extent_int(1);
  Kokkos::parallel_for(
      "elastic::test::transform", row_policy<T>(ExecutionSpace(), z.extent_int(0), 0),
      KOKKOS_LAMBDA(const RowTeam& team) {
        const index_t t = team.league_rank();
        T* const row = row_of(z, t);
        transform_columns(
            team, columns, [](Accumulate<T> a, Accumulate<T> b) { return 2 * a + b; }, row, row,
            row_of(other, t));
        if (t % 2 == 1) zero_row(team, row, columns);
      });
}

template <class T>
class RowSoftmaxTest : public testing::Test {};
using Scalars = testing::Types<bfloat16, float, double>;
TYPED_TEST_SUITE(RowSoftmaxTest, Scalars);

const std::vector<index_t> widths = {1, 15, 16, 17, 128, 129, 2048, 5003};

TYPED_TEST(RowSoftmaxTest, SumsEqualNaive) {
  using T = TypeParam;
  for (const index_t columns : widths) {
    const auto z = strided_random_matrix<T>(3, columns, columns + 7, 1);
    const auto values = to_double(z);
    std::vector<double> expected(6);
    for (index_t t = 0; t < 3; ++t)
      for (index_t v = 0; v < columns; ++v) {
        expected[t * 2] += values[t * columns + v];
        expected[t * 2 + 1] += values[t * columns + v] * values[t * columns + v];
      }
    EXPECT_TRUE(near(row_sums<T>(z, {}), expected, tolerance<T>(columns))) << columns;
  }
}

/// Columns dealt out to ranks, whose sums are added in a tree: what the losses rely on.
TYPED_TEST(RowSoftmaxTest, RanksGiveTheBitsOfOne) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t columns : widths) {
    const auto z = random_matrix<T>(2, columns, 2);
    const auto whole = row_sums<T>(z, {});
    for (const int ranks : {2, 4, 8}) {
      std::vector<View2<A>> parts;
      for (int r = 0; r < ranks; ++r)
        parts.push_back(row_sums<T>(columns_of(z, {r, ranks}), {r, ranks}));
      EXPECT_TRUE(bitwise_equal(sum_over_ranks(parts), whole)) << columns << " on " << ranks;
    }
  }
}

TYPED_TEST(RowSoftmaxTest, SumsRepeatBitwise) {
  using T = TypeParam;
  const auto z = random_matrix<T>(4, 3000, 3);
  EXPECT_TRUE(bitwise_equal(row_sums<T>(z, {}), row_sums<T>(z, {})));
}

TYPED_TEST(RowSoftmaxTest, MaximaAreTheLargestAndPassOverNan) {
  using T = TypeParam;
  using A = Accumulate<T>;
  for (const index_t columns : widths) {
    auto values = random_values<T>(2 * columns, 4, -9, -1);  // none above zero
    if (columns > 1) values[columns] = static_cast<T>(std::numeric_limits<A>::quiet_NaN());
    const auto result = to_host(row_maxima<T>(to_device(values, 2, columns)));
    const auto wide = to_double(values);
    EXPECT_EQ(result[0], *std::max_element(wide.begin(), wide.begin() + columns)) << columns;
    if (columns > 1) {
      EXPECT_EQ(result[1], *std::max_element(wide.begin() + columns + 1, wide.end())) << columns;
    }
  }
  // The lowest number, or minus infinity since Kokkos 5.
  EXPECT_EQ(to_host(row_maxima<T>(View2<T>("elastic::test::z", 1, 0)))[0],
            Kokkos::reduction_identity<A>::max());
}

TYPED_TEST(RowSoftmaxTest, TransformsEveryColumnAndNothingElse) {
  using T = TypeParam;
  for (const index_t columns : {1, 15, 16, 17, 100}) {
    const auto parent = random_matrix<T>(3, columns + 5, 5);
    const auto before = to_double(parent);
    const auto other = random_matrix<T>(3, columns, 6);
    const auto added = to_double(other);
    transform<T>(prefix(parent, 3, columns), other);
    const auto after = to_double(parent);
    for (index_t t = 0; t < 3; ++t)
      for (index_t v = 0; v < columns + 5; ++v) {
        const index_t i = t * (columns + 5) + v;
        if (v >= columns) {
          EXPECT_EQ(after[i], before[i]);
        } else if (t == 1) {
          EXPECT_EQ(after[i], 0);
        } else {
          EXPECT_NEAR(after[i], 2 * before[i] + added[t * columns + v],
                      tolerance<T>(1) + 3 * storage_rounding<T>());  // at most 3
        }
      }
  }
}

TYPED_TEST(RowSoftmaxTest, ChainsShareOutTheClassesOfRanks) {
  EXPECT_EQ(num_chains({}), most_chains);
  for (const int ranks : {2, 4, 8}) EXPECT_EQ(num_chains({0, ranks}) * ranks, most_chains);
  EXPECT_EQ(num_chains({0, 16}), chains_of_class);  // more ranks than classes: one class each
}

TYPED_TEST(RowSoftmaxTest, ProbabilitiesOfLargeLogitsAreStable) {
  using T = TypeParam;
  using A = Accumulate<T>;
  const RowSoftmax<A> softmax{A(0.5), A(1e5), std::log(A(2))};  // two equal maxima, tau = 2
  EXPECT_NEAR(softmax.probability(A(1e5)), 0.5, tolerance<T>(1));
  EXPECT_NEAR(softmax.probability(A(1e5 - 4)), 0.5 * std::exp(-2.0), tolerance<T>(1));
  EXPECT_NEAR(softmax.log_probability(A(1e5 - 200)), -100 - std::log(2.0), 100 * tolerance<T>(1));
}

}  // namespace
}  // namespace elastic::kernels
