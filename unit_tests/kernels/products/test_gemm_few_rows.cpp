// SPDX-License-Identifier: Apache-2.0
// The route for a few rows: values, and that a row has the same bits whatever stands beside it.
#include "kernels/products/gemm_few_rows.hpp"

#include "base/error.hpp"
#include "kernels/products/gemm.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {
using namespace elastic::test;

template <class T>
class FewRows : public testing::Test {};
using Scalars = testing::Types<float, double, bfloat16>;
TYPED_TEST_SUITE(FewRows, Scalars);

TYPED_TEST(FewRows, EqualsNaiveProduct) {
  using T = TypeParam;
  for (const index_t m : {1, 3, 4, 7, 16})
    for (const index_t n : {1, 15, 40, 150})
      for (const index_t k : {1, 31, 32, 100, 515, 576})
        for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {-0.5, 0.25}}) {
          const auto a = strided_random_matrix<T>(m, k, k + 3, 1),
                     b = strided_random_matrix<T>(n, k, k + 5, 2),
                     c = strided_random_matrix<T>(m, n, n + 2, 3);
          const auto x = to_double(a), y = to_double(b), z = to_double(c);
          std::vector<double> expected(m * n);
          for (index_t i = 0; i < m; ++i)
            for (index_t j = 0; j < n; ++j) {
              double sum = 0;
              for (index_t l = 0; l < k; ++l) sum += x[i * k + l] * y[j * k + l];
              expected[i * n + j] = alpha * sum + beta * z[i * n + j];
            }
          few_rows_product<T>(ExecutionSpace(), static_cast<Accumulate<T>>(alpha), a, b,
                              static_cast<Accumulate<T>>(beta), c);
          EXPECT_TRUE(near(c, expected, tolerance<T>(k))) << m << " " << n << " " << k;
        }
}

TYPED_TEST(FewRows, RowsAloneHaveTheBitsOfRowsTogether) {
  using T = TypeParam;
  if (!std::is_same_v<MemorySpace, HostSpace>) GTEST_SKIP() << "a route of hosts";
  const index_t n = 101;
  for (const index_t k : {203, 224}) {  // with a rest, and what matrix units take
    const auto a = random_matrix<T>(few_rows, k, 1), b = strided_random_matrix<T>(n, k, k + 7, 2);
    const View2<T> together("elastic::test::c", few_rows, n);
    gemm<T>({}, Transpose::no, Transpose::yes, 1, a, b, 0, together);
    for (const index_t count : {1, 2, 3, 5, 11})
      for (index_t i = 0; i + count <= few_rows; ++i) {
        const View2<T> some("elastic::test::d", count, n);
        gemm<T>({}, Transpose::no, Transpose::yes, 1, rows(a, i, i + count), b, 0, some);
        EXPECT_TRUE(bitwise_equal(some, rows(together, i, i + count))) << i << " " << count;
      }
  }
}

/// A submodel's weight is a part of the parent's, a rank's share another.
TYPED_TEST(FewRows, ColumnsHaveTheSameBitsInAnyPartOfTheWeight) {
  using T = TypeParam;
  if (!std::is_same_v<MemorySpace, HostSpace>) GTEST_SKIP() << "a route of hosts";
  const index_t n = 150, k = 96;
  const auto a = random_matrix<T>(3, k, 1), b = strided_random_matrix<T>(n, k, k + 5, 2);
  const View2<T> whole("elastic::test::c", 3, n);
  gemm<T>({}, Transpose::no, Transpose::yes, 1, a, b, 0, whole);
  for (const auto& [begin, end] : {std::pair<index_t, index_t>{0, 70}, {13, 150}, {140, 143}}) {
    const View2<T> part("elastic::test::d", 3, end - begin);
    gemm<T>({}, Transpose::no, Transpose::yes, 1, a, rows(b, begin, end), 0, part);
    const View2<T> expected =
        Kokkos::subview(whole, Kokkos::ALL, Kokkos::pair<index_t, index_t>(begin, end));
    EXPECT_TRUE(bitwise_equal(part, expected)) << begin;
  }
}

/// A result in the type of the sums is the one before rounding.
TEST(FewRowsOfBfloat16, GiveSumsOrOneRoundingOfThem) {
  const auto a = random_matrix<bfloat16>(5, 100, 1), b = random_matrix<bfloat16>(9, 100, 2);
  const View2<float> sums("elastic::test::c", 5, 9);
  const View2<bfloat16> rounded("elastic::test::d", 5, 9);
  few_rows_product<bfloat16, float>(ExecutionSpace(), 1, a, b, 0, sums);
  few_rows_product<bfloat16>(ExecutionSpace(), 1, a, b, 0, rounded);
  EXPECT_TRUE(bitwise_equal(rounded, stored_as<bfloat16>(sums)));
  EXPECT_FALSE(near(stored_as<float>(rounded), sums, tolerance<float>(100)));
}

TYPED_TEST(FewRows, BetaZeroOverwritesNan) {
  using T = TypeParam;
  const View2<T> c("elastic::test::c", 3, 6);
  Kokkos::deep_copy(c, static_cast<T>(std::numeric_limits<float>::quiet_NaN()));
  few_rows_product<T>(ExecutionSpace(), 1, random_matrix<T>(3, 7, 1), random_matrix<T>(6, 7, 2), 0,
                      c);
  for (const double value : to_double(c)) EXPECT_TRUE(std::isfinite(value));
}

TYPED_TEST(FewRows, RejectsManyRows) {
  using T = TypeParam;
  for (const index_t k : {2, 32})  // by lanes, and what matrix units take
    EXPECT_THROW(few_rows_product<T>(ExecutionSpace(), 1, random_matrix<T>(17, k, 1),
                                     random_matrix<T>(3, k, 2), 0, random_matrix<T>(17, 3, 3)),
                 ContractError);
}

}  // namespace
}  // namespace elastic::kernels
