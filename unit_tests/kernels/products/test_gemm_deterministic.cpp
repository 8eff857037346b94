// SPDX-License-Identifier: Apache-2.0
// The deterministic route alone: each element is one sum over k in rising order, in the order
// that a plain loop has. What gemm promises of it: test_gemm.cpp.
#include "kernels/products/gemm_deterministic.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
class DeterministicProduct : public testing::Test {};
using Scalars = testing::Types<float, double, bfloat16>;
TYPED_TEST_SUITE(DeterministicProduct, Scalars);

template <class T>
StridedMatrix<T> rows_of(const View2<T>& a) {
  return {a.data(), leading_dimension(a), 1};
}

/// The sums of T are shown as they are, before they are rounded: C = Accumulate<T>.
/// Integers: every order of addition has the same, exact result, so that only misplaced terms show.
template <class T>
View2<T> small_integers(index_t rows, index_t columns, std::uint32_t seed) {
  auto values = random_values<T>(rows * columns, seed, -8, 8);
  for (T& value : values) value = static_cast<T>(std::round(static_cast<double>(value)));
  return to_device(values, rows, columns);
}

TYPED_TEST(DeterministicProduct, IsExactForIntegers) {
  using T = TypeParam;
  using C = Accumulate<T>;
  for (const index_t m : {1, 11, 12, 13, 96, 97})
    for (const index_t n : {1, 31, 32, 33})
      for (const index_t k : {1, 255, 256, 257}) {
        const auto a = small_integers<T>(m, k, 1), b = small_integers<T>(k, n, 2);
        const auto c = small_integers<C>(m, n, 3);
        const auto x = to_double(a), y = to_double(b);
        auto expected = to_double(c);
        for (index_t i = 0; i < m; ++i)
          for (index_t j = 0; j < n; ++j) {
            double sum = 2 * expected[i * n + j];
            for (index_t l = 0; l < k; ++l) sum += 3 * x[i * k + l] * y[l * n + j];
            expected[i * n + j] = sum;
          }
        deterministic_product<T, C>(ExecutionSpace(), k, 3, rows_of<T>(a), rows_of<T>(b), 2, c);
        ASSERT_TRUE(near(c, expected, 0)) << m << " " << n << " " << k;
      }
}

/// 1 + eps/2 + eps/2 + ..: added one by one to 1 the small terms vanish, added to each other
/// first they would not.
TYPED_TEST(DeterministicProduct, AddsInRisingOrderOfK) {
  using T = TypeParam;
  using C = Accumulate<T>;
  const index_t k = 600;
  std::vector<T> column(k, T(std::numeric_limits<C>::epsilon() / 2));
  column[0] = T(1);
  const auto b = to_device(column, k, 1), ones = to_device(std::vector<T>(k, T(1)), 1, k);
  const View2<C> c("elastic::test::c", 1, 1);
  deterministic_product<T, C>(ExecutionSpace(), k, 1, rows_of<T>(ones), rows_of<T>(b), 0, c);
  EXPECT_EQ(to_host(c)[0], C(1));
  std::reverse(column.begin(), column.end());
  assign(b, column);
  deterministic_product<T, C>(ExecutionSpace(), k, 1, rows_of<T>(ones), rows_of<T>(b), 0, c);
  EXPECT_GT(to_host(c)[0], C(1));
}

TYPED_TEST(DeterministicProduct, BeginsWithBetaTimesTheOldValue) {
  using T = TypeParam;
  using C = Accumulate<T>;
  const C large = 1 / std::numeric_limits<C>::epsilon() * 4;
  const auto a = to_device(std::vector<T>{T(1), T(1)}, 1, 2),
             b = to_device(std::vector<T>{T(-large), T(1)}, 2, 1);
  const auto c = to_device(std::vector<C>{large}, 1, 1);
  deterministic_product<T, C>(ExecutionSpace(), 2, 1, rows_of<T>(a), rows_of<T>(b), 1, c);
  EXPECT_EQ(to_host(c)[0], C(1));  // (large - large) + 1; the other order would give 0
}

/// Strides along k, as sums over units need them, and through transposes.
TYPED_TEST(DeterministicProduct, StridesChangeNoBit) {
  using T = TypeParam;
  using C = Accumulate<T>;
  const index_t m = 30, n = 40, k = 70, step = 3;
  const auto a = random_matrix<T>(m, step * k, 1), b = random_matrix<T>(step * k, n, 2);
  std::vector<T> a_dense, b_dense;
  const auto x = to_host(a), y = to_host(b);
  for (index_t i = 0; i < m; ++i)
    for (index_t l = 0; l < k; ++l) a_dense.push_back(x[i * step * k + l * step]);
  for (index_t l = 0; l < k; ++l)
    b_dense.insert(b_dense.end(), &y[l * step * n], &y[l * step * n] + n);
  const View2<C> c("elastic::test::c", m, n), d("elastic::test::d", m, n);
  deterministic_product<T, C>(ExecutionSpace(), k, C(0.3), {a.data(), step * k, step},
                              {b.data(), step * n, 1}, 0, c);
  deterministic_product<T, C>(ExecutionSpace(), k, C(0.3), rows_of<T>(to_device(a_dense, m, k)),
                              rows_of<T>(to_device(b_dense, k, n)), 0, d);
  EXPECT_TRUE(bitwise_equal(c, d));
}

TYPED_TEST(DeterministicProduct, NanAndInfinityReachTheElementsThatHaveThem) {
  using T = TypeParam;
  using C = Accumulate<T>;
  const index_t m = 14, n = 35, k = 20;
  const auto a = random_matrix<T>(m, k, 1);
  auto values = random_values<T>(k * n, 2);
  values[3 * n + 17] = static_cast<T>(std::numeric_limits<C>::quiet_NaN());
  values[5 * n + 33] = static_cast<T>(std::numeric_limits<C>::infinity());
  const View2<C> c("elastic::test::c", m, n);
  deterministic_product<T, C>(ExecutionSpace(), k, 1, rows_of<T>(a),
                              rows_of<T>(to_device(values, k, n)), 0, c);
  const auto result = to_host(c);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j)
      EXPECT_EQ(std::isfinite(result[i * n + j]), j != 17 && j != 33) << i << " " << j;
}

}  // namespace
}  // namespace elastic::kernels
