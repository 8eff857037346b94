// SPDX-License-Identifier: Apache-2.0
// How kernels share out rows and columns: every element once, and sums whose order does not
// depend on what stands beside.
#include "kernels/rows/row_loops.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

/// How often each element of a rows x columns matrix is visited.
std::vector<int> visits_by_rows(index_t rows, index_t columns) {
  const View2<int> count("elastic::test::count", rows, columns);
  for_row_pieces(
      ExecutionSpace(), "elastic::test::for_row_pieces", rows, columns,
      KOKKOS_LAMBDA(const index_t i, const index_t begin, const index_t end) {
        for (index_t j = begin; j < end; ++j) count(i, j) += 1;
      });
  return to_host(count);
}
std::vector<int> visits_by_columns(index_t columns) {
  const View1<int> count("elastic::test::count", columns);
  for_column_pieces(
      ExecutionSpace(), "elastic::test::for_column_pieces", columns,
      KOKKOS_LAMBDA(const index_t begin, const index_t end) {
        for (index_t j = begin; j < end; ++j) count(j) += 1;
      });
  return to_host(count);
}

TEST(RowLoops, VisitEveryElementOnce) {
  for (const index_t rows : {0, 1, 7})
    for (const index_t columns : {0, 1, 1023, 1024, 1025, 5000})
      EXPECT_EQ(visits_by_rows(rows, columns), std::vector<int>(rows * columns, 1))
          << rows << " x " << columns;
}

TEST(RowLoops, VisitEveryColumnOnce) {
  for (const index_t columns : {0, 1, 15, 16, 17, 1024, 1025, 40000})
    EXPECT_EQ(visits_by_columns(columns), std::vector<int>(columns, 1)) << columns;
}

TEST(RowLoops, BlocksOfRowsCoverAllRows) {
  EXPECT_EQ(num_row_blocks(0), 0);
  EXPECT_EQ(num_row_blocks(1), 1);
  EXPECT_EQ(num_row_blocks(rows_per_block), 1);
  EXPECT_EQ(num_row_blocks(rows_per_block + 1), 2);
}

/// lane_sum of the first n elements of x, on the device.
template <class T>
T lane_sum_of(const View1<T>& x, index_t n) {
  const View1<T> result("elastic::test::result", 1);
  Kokkos::parallel_for(
      "elastic::test::lane_sum", LinearPolicy(ExecutionSpace(), 0, 1),
      KOKKOS_LAMBDA(const index_t) {
        result(0) = lane_sum<T>(n, [=](index_t j) { return x(j); });
      });
  return to_host(result)[0];
}

template <class T>
class LaneSum : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LaneSum, Scalars);

TYPED_TEST(LaneSum, AddsAllTerms) {
  using T = TypeParam;
  for (const index_t n : {0, 1, 31, 32, 33, 64, 1000}) {
    const auto x = random_vector<T>(n, 1);
    double expected = 0;
    for (const double value : to_double(x)) expected += value;
    EXPECT_NEAR(lane_sum_of<T>(x, n), expected, tolerance<T>(n)) << n;
  }
}

/// The property that makes a masked norm equal to the norm of the prefix.
TYPED_TEST(LaneSum, ZerosAtTheEndChangeNoBit) {
  using T = TypeParam;
  for (const index_t kept : {1, 20, 32, 45, 96, 333}) {
    auto values = random_values<T>(400, 2);
    std::fill(values.begin() + kept, values.end(), T(0));
    const auto x = to_device(values);
    const T sum = lane_sum_of<T>(x, kept);
    for (const index_t n : {kept + 1, index_t(400)}) EXPECT_EQ(lane_sum_of<T>(x, n), sum) << kept;
  }
}

TYPED_TEST(LaneSum, LanesAreFoldedAsATree) {
  using T = TypeParam;
  // In a chain 1e30 would swallow the ones: the tree pairs it with its opposite before.
  std::vector<T> values(32, T(1));
  values[0] = T(1e30);
  values[16] = T(-1e30);
  EXPECT_EQ(lane_sum_of<T>(to_device(values), 32), T(30));
}

/// y_j = m_j x_j.
template <class T>
View1<T> masked(const View1<T>& x, const View1<const T>& mask) {
  const View1<T> y("elastic::test::y", x.extent(0));
  const auto n = static_cast<index_t>(x.extent(0));
  Kokkos::parallel_for(
      "elastic::test::with_mask", LinearPolicy(ExecutionSpace(), 0, 1),
      KOKKOS_LAMBDA(const index_t) {
        with_mask<T>(mask, [&](const auto& m) {
          for (index_t j = 0; j < n; ++j) y(j) = m(j) * x(j);
        });
      });
  return y;
}

TYPED_TEST(LaneSum, AnAbsentMaskIsOne) {
  using T = TypeParam;
  const auto x = random_vector<T>(40, 1), mask = random_vector<T>(40, 2);
  auto expected = to_host(x);
  EXPECT_TRUE(bitwise_equal(to_host(masked<T>(x, {})), expected));
  const auto m = to_host(mask);
  for (std::size_t j = 0; j < 40; ++j) expected[j] *= m[j];
  EXPECT_TRUE(bitwise_equal(to_host(masked<T>(x, mask)), expected));
}

TYPED_TEST(LaneSum, SumsOfBlocksAreAddedInRisingOrder) {
  using T = TypeParam;
  const index_t blocks = 5, stride = 30,
                columns = 20;  // the last ten of a block are something else
  const auto partial = random_vector<T>(blocks * stride, 3), total = random_vector<T>(columns, 4);
  const auto p = to_host(partial);
  auto expected = to_host(total);
  for (index_t b = 0; b < blocks; ++b)
    for (index_t j = 0; j < columns; ++j) expected[j] += p[b * stride + j];
  add_block_sums<T>(ExecutionSpace(), partial.data(), blocks, stride, total);
  EXPECT_TRUE(bitwise_equal(to_host(total), expected));
  add_block_sums<T>(ExecutionSpace(), partial.data(), blocks, stride, View1<T>());  // absent
}

}  // namespace
}  // namespace elastic::kernels
