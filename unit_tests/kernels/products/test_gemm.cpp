// SPDX-License-Identifier: Apache-2.0
// Matrix products of both routes against a naive fp64 product;
// bit identities of the deterministic route.
#include "kernels/products/gemm.hpp"

#include "base/error.hpp"
#include "base/region.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T>
std::vector<double> naive_product(bool ta, bool tb, double alpha, const View2<T>& a,
                                  const View2<T>& b, double beta, const View2<T>& c) {
  const index_t m = c.extent(0), n = c.extent(1), k = a.extent(ta ? 0 : 1);
  const auto x = to_double(a), y = to_double(b), z = to_double(c);
  std::vector<double> result(m * n);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) {
      double sum = 0;
      for (index_t l = 0; l < k; ++l)
        sum += (ta ? x[l * m + i] : x[i * k + l]) * (tb ? y[j * k + l] : y[l * n + j]);
      result[i * n + j] = alpha * sum + (beta == 0 ? 0 : beta * z[i * n + j]);
    }
  return result;
}

Transpose flag(bool yes) { return yes ? Transpose::yes : Transpose::no; }

Products route(bool deterministic) { return {.deterministic = deterministic}; }

template <class T>
class Gemm : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Scalars);

TYPED_TEST(Gemm, EqualsNaiveProductOnBothRoutes) {
  using T = TypeParam;
  const index_t extents[][3] = {{1, 1, 1},     {2, 3, 5},     {12, 32, 256},
                                {13, 33, 257}, {100, 70, 30}, {97, 17, 300}};
  for (const bool deterministic : {false, true})
    for (const auto& [m, n, k] : extents)
      for (const bool ta : {false, true})
        for (const bool tb : {false, true})
          for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {1.0, 1.0}, {-0.5, 0.25}}) {
            const auto a = strided_random_matrix<T>(ta ? k : m, ta ? m : k, (ta ? m : k) + 3, 1);
            const auto b = strided_random_matrix<T>(tb ? n : k, tb ? k : n, (tb ? k : n) + 5, 2);
            const auto c = strided_random_matrix<T>(m, n, n + 2, 3);
            const auto expected = naive_product<T>(ta, tb, alpha, a, b, beta, c);
            gemm<T>(route(deterministic), flag(ta), flag(tb), static_cast<T>(alpha), a, b,
                    static_cast<T>(beta), c);
            EXPECT_TRUE(near(c, expected, tolerance<T>(k)))
                << (deterministic ? "deterministic " : "vendor ") << m << " " << n << " " << k
                << " ta " << ta << " tb " << tb;
          }
}

TYPED_TEST(Gemm, WritesNothingOutsideAPrefix) {
  using T = TypeParam;
  for (const bool deterministic : {false, true}) {
    const auto parent = random_matrix<T>(40, 50, 4);
    const auto before = to_host(parent);
    gemm<T>(route(deterministic), Transpose::no, Transpose::no, 1, random_matrix<T>(30, 8, 5),
            random_matrix<T>(8, 35, 6), 0, prefix(parent, 30, 35));
    const auto after = to_host(parent);
    for (index_t i = 0; i < 40; ++i)
      for (index_t j = 0; j < 50; ++j)
        if (i >= 30 || j >= 35) {
          EXPECT_EQ(after[i * 50 + j], before[i * 50 + j]) << i << " " << j;
        }
  }
}

TYPED_TEST(Gemm, BetaZeroOverwritesNan) {
  using T = TypeParam;
  for (const bool deterministic : {false, true})
    for (const index_t k : {0, 7}) {
      const View2<T> c("elastic::test::c", 5, 6);
      Kokkos::deep_copy(c, std::numeric_limits<T>::quiet_NaN());
      gemm<T>(route(deterministic), Transpose::no, Transpose::no, 1, random_matrix<T>(5, k, 1),
              random_matrix<T>(k, 6, 2), 0, c);
      for (const T value : to_host(c)) EXPECT_TRUE(std::isfinite(value));
    }
}

TYPED_TEST(Gemm, EmptyExtents) {
  using T = TypeParam;
  const Products products;
  const auto c = random_matrix<T>(3, 4, 1);
  auto expected = to_host(c);
  for (T& value : expected) value *= T(0.5);
  gemm<T>(products, Transpose::no, Transpose::yes, 1, View2<T>("elastic::test::a", 3, 0),
          View2<T>("elastic::test::b", 4, 0), T(0.5), c);
  EXPECT_TRUE(near(c, expected, 0));
  gemm<T>(products, Transpose::no, Transpose::no, 1, View2<T>("elastic::test::a", 0, 2),
          random_matrix<T>(2, 4, 1), 0, prefix(c, 0, 4));
  gemm<T>(products, Transpose::no, Transpose::no, 1, random_matrix<T>(3, 2, 1),
          View2<T>("elastic::test::b", 2, 0), 0, prefix(c, 3, 0));
  EXPECT_TRUE(near(c, expected, 0));
}

TYPED_TEST(Gemm, RejectsShapesThatDoNotFit) {
  using T = TypeParam;
  const Products products;
  const auto a = random_matrix<T>(3, 2, 1), b = random_matrix<T>(2, 4, 1);
  EXPECT_THROW(
      gemm<T>(products, Transpose::no, Transpose::yes, 1, a, b, 0, random_matrix<T>(3, 4, 1)),
      ContractError);
  EXPECT_THROW(
      gemm<T>(products, Transpose::yes, Transpose::no, 1, a, b, 0, random_matrix<T>(3, 4, 1)),
      ContractError);
  EXPECT_THROW(
      gemm<T>(products, Transpose::no, Transpose::no, 1, a, b, 0, random_matrix<T>(3, 5, 1)),
      ContractError);
}

TYPED_TEST(Gemm, CountsOperations) {
  using T = TypeParam;
  const double before = counted_flops();
  gemm<T>({}, Transpose::no, Transpose::no, 1, random_matrix<T>(3, 4, 1), random_matrix<T>(4, 5, 1),
          0, random_matrix<T>(3, 5, 1));
  EXPECT_EQ(counted_flops() - before, 2.0 * 3 * 4 * 5);
}

// The bits of an element must depend neither on how much else is computed
// nor on where operands lie.
TYPED_TEST(Gemm, DeterministicPrefixEqualsCopy) {
  using T = TypeParam;
  const Products products = route(true);
  const index_t m = 150, n = 77, k = 300;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2),
             c0 = random_matrix<T>(m, n, 3);
  const auto whole = clone(c0);
  gemm<T>(products, Transpose::no, Transpose::no, T(0.3), a, b, T(0.7), whole);
  for (const auto& [rows, columns] :
       {std::pair<index_t, index_t>{m, 33}, {1, 1}, {13, n}, {97, 32}}) {
    const auto part = clone(prefix(c0, rows, columns)), copied = clone(prefix(c0, rows, columns));
    gemm<T>(products, Transpose::no, Transpose::no, T(0.3), prefix(a, rows, k),
            prefix(b, k, columns), T(0.7), part);
    gemm<T>(products, Transpose::no, Transpose::no, T(0.3), clone(prefix(a, rows, k)),
            clone(prefix(b, k, columns)), T(0.7), copied);
    EXPECT_TRUE(bitwise_equal(part, prefix(whole, rows, columns))) << rows << " " << columns;
    EXPECT_TRUE(bitwise_equal(part, copied)) << rows << " " << columns;
  }
}

TYPED_TEST(Gemm, DeterministicDoesNotSeeTransposes) {
  using T = TypeParam;
  const Products products = route(true);
  const index_t m = 50, n = 45, k = 270;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const auto transposed = [](const View2<T>& x) {
    const index_t rows = x.extent(0), columns = x.extent(1);
    const auto values = to_host(x);
    std::vector<T> result(values.size());
    for (index_t i = 0; i < rows; ++i)
      for (index_t j = 0; j < columns; ++j) result[j * rows + i] = values[i * columns + j];
    return to_device(result, columns, rows);
  };
  const View2<T> c("elastic::test::c", m, n), d("elastic::test::d", m, n);
  gemm<T>(products, Transpose::no, Transpose::no, 1, a, b, 0, c);
  gemm<T>(products, Transpose::yes, Transpose::yes, 1, transposed(a), transposed(b), 0, d);
  EXPECT_TRUE(bitwise_equal(c, d));
}

TYPED_TEST(Gemm, DeterministicIgnoresRowsOfZerosInK) {
  using T = TypeParam;
  const Products products = route(true);
  const index_t m = 20, n = 40, k = 200, wide = 600;
  const auto a = random_matrix<T>(m, wide, 1), b = random_matrix<T>(wide, n, 2);
  auto values = to_host(a);
  for (index_t i = 0; i < m; ++i)
    for (index_t l = k; l < wide; ++l) values[i * wide + l] = 0;
  assign(a, values);
  const View2<T> masked("elastic::test::c", m, n), sliced("elastic::test::d", m, n);
  gemm<T>(products, Transpose::no, Transpose::no, 1, a, b, 0, masked);
  gemm<T>(products, Transpose::no, Transpose::no, 1, prefix(a, m, k), prefix(b, k, n), 0, sliced);
  EXPECT_TRUE(bitwise_equal(masked, sliced));
}

TYPED_TEST(Gemm, DeterministicInPiecesOfKEqualsOnePiece) {
  using T = TypeParam;
  const Products products = route(true);
  const index_t m = 20, n = 40, k = 300, cut = 77;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const View2<T> whole("elastic::test::c", m, n), pieces("elastic::test::d", m, n);
  const T alpha = T(0.7);
  gemm<T>(products, Transpose::no, Transpose::no, alpha, a, b, 0, whole);
  gemm<T>(products, Transpose::no, Transpose::no, alpha, prefix(a, m, cut), prefix(b, cut, n), 0,
          pieces);
  gemm<T>(products, Transpose::no, Transpose::no, alpha,
          View2<T>(Kokkos::subview(a, Kokkos::ALL, Range(cut, k))), rows(b, cut, k), 1, pieces);
  EXPECT_TRUE(bitwise_equal(whole, pieces));
}

/// gemm_of_units over the first `active` k of the units first, first + step, .. as it is defined.
template <class T>
std::vector<double> naive_units(const View2<T>& a, const View2<T>& b, const UnitStride& units,
                                index_t active, const std::vector<double>& c) {
  const index_t m = a.extent(0), n = b.extent(1), depth = a.extent(1);
  const auto x = to_double(a), y = to_double(b);
  auto result = c;
  for (index_t u = units.first; u < depth / active; u += units.step)
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n; ++j)
        for (index_t p = 0; p < active; ++p)
          result[i * n + j] += x[i * depth + u * active + p] * y[(u * units.unit + p) * n + j];
  return result;
}

TYPED_TEST(Gemm, ProductsOverUnitsEqualNaiveSums) {
  using T = TypeParam;
  const index_t m = 13, n = 21, count = 9;
  for (const auto& [unit, active] : {std::pair<index_t, index_t>{1, 1}, {4, 4}, {5, 3}})
    for (const index_t step : {1, 4, 8})
      for (const index_t first : {index_t(0), step - 1}) {
        const auto a = random_matrix<T>(m, count * active, 1),
                   b = random_matrix<T>(count * unit, n, 2), c = random_matrix<T>(m, n, 3);
        const auto expected = naive_units(a, b, {unit, first, step}, active, to_double(c));
        gemm_of_units<T>(ExecutionSpace(), Transpose::no, a, b, {unit, first, step}, active, 1, c);
        EXPECT_TRUE(near(c, expected, tolerance<T>(count * active)))
            << unit << " " << active << " " << first << " of " << step;
      }
}

/// One class is the deterministic product of all; a transposed weight changes no bit.
TYPED_TEST(Gemm, ProductsOverAllUnitsAreTheDeterministicProduct) {
  using T = TypeParam;
  const index_t m = 20, n = 33, k = 48;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  std::vector<T> transposed(n * k);
  const auto values = to_host(b);
  for (index_t i = 0; i < k; ++i)
    for (index_t j = 0; j < n; ++j) transposed[j * k + i] = values[i * n + j];
  const View2<T> whole("elastic::test::c", m, n), units("elastic::test::d", m, n),
      by_rows("elastic::test::e", m, n);
  gemm<T>(route(true), Transpose::no, Transpose::no, 1, a, b, 0, whole);
  gemm_of_units<T>(ExecutionSpace(), Transpose::no, a, b, {6, 0, 1}, 6, 0, units);
  gemm_of_units<T>(ExecutionSpace(), Transpose::yes, a, to_device(transposed, n, k), {6, 0, 1}, 6,
                   0, by_rows);
  EXPECT_TRUE(bitwise_equal(whole, units));
  EXPECT_TRUE(bitwise_equal(whole, by_rows));
}

/// A rank that has no unit of a class only scales what is there.
TYPED_TEST(Gemm, AnEmptyClassOfUnitsIsZero) {
  using T = TypeParam;
  const auto c = random_matrix<T>(3, 4, 1);
  gemm_of_units<T>(ExecutionSpace(), Transpose::no, random_matrix<T>(3, 2, 2),
                   random_matrix<T>(2, 4, 3), {1, 5, 8}, 1, 0, c);
  for (const T value : to_host(c)) EXPECT_EQ(value, T(0));
}

/// The route is an argument: products of both kinds can alternate, and none leaves a trace.
TYPED_TEST(Gemm, RoutesDoNotDependOnEarlierProducts) {
  using T = TypeParam;
  const index_t m = 40, n = 30, k = 500;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const auto product = [&](bool deterministic) {
    const View2<T> c("elastic::test::c", m, n);
    gemm<T>(route(deterministic), Transpose::no, Transpose::no, 1, a, b, 0, c);
    return c;
  };
  const auto fast = product(false), exact = product(true), fast_again = product(false),
             exact_again = product(true);
  EXPECT_TRUE(bitwise_equal(fast, fast_again));
  EXPECT_TRUE(bitwise_equal(exact, exact_again));
}

}  // namespace
}  // namespace elastic::kernels
