// SPDX-License-Identifier: Apache-2.0
// Matrix products of both routes against a naive fp64 product;
// bit identities of the deterministic route. Batches: test_gemm_batched.cpp.
#include "kernels/products/gemm.hpp"

#include "base/error.hpp"
#include "base/region.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class T, class C>
std::vector<double> naive_product(bool ta, bool tb, double alpha, const View2<T>& a,
                                  const View2<T>& b, double beta, const View2<C>& c) {
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

/// Operands of In, a result of Out.
template <class In, class Out>
struct Stored {
  using T = In;
  using C = Out;
};
template <class Types>
class Gemm : public testing::Test {};
using Scalars = testing::Types<Stored<float, float>, Stored<double, double>,
                               Stored<bfloat16, bfloat16>, Stored<bfloat16, float>>;
TYPED_TEST_SUITE(Gemm, Scalars);

TYPED_TEST(Gemm, EqualsNaiveProductOnBothRoutes) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const index_t extents[][3] = {{1, 1, 1},     {2, 3, 5},     {12, 32, 256},
                                {13, 33, 257}, {100, 70, 30}, {97, 17, 300}};
  for (const bool deterministic : {false, true})
    for (const auto& [m, n, k] : extents)
      for (const bool ta : {false, true})
        for (const bool tb : {false, true})
          for (const auto& [alpha, beta] : {std::pair{1.0, 0.0}, {1.0, 1.0}, {-0.5, 0.25}}) {
            const auto a = strided_random_matrix<T>(ta ? k : m, ta ? m : k, (ta ? m : k) + 3, 1);
            const auto b = strided_random_matrix<T>(tb ? n : k, tb ? k : n, (tb ? k : n) + 5, 2);
            const auto c = strided_random_matrix<C>(m, n, n + 2, 3);
            const auto expected = naive_product<T, C>(ta, tb, alpha, a, b, beta, c);
            gemm<T, C>(route(deterministic), flag(ta), flag(tb), static_cast<Accumulate<T>>(alpha),
                       a, b, static_cast<Accumulate<T>>(beta), c);
            EXPECT_TRUE(near(c, expected, tolerance<T>(k)))
                << (deterministic ? "deterministic " : "vendor ") << m << " " << n << " " << k
                << " ta " << ta << " tb " << tb;
          }
}

TYPED_TEST(Gemm, WritesNothingOutsideAPrefix) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  for (const bool deterministic : {false, true}) {
    const auto parent = random_matrix<C>(40, 50, 4);
    const auto before = to_host(parent);
    gemm<T, C>(route(deterministic), Transpose::no, Transpose::no, 1, random_matrix<T>(30, 8, 5),
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
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  for (const bool deterministic : {false, true})
    for (const index_t k : {0, 7}) {
      const View2<C> c("elastic::test::c", 5, 6);
      Kokkos::deep_copy(c, static_cast<C>(std::numeric_limits<float>::quiet_NaN()));
      gemm<T, C>(route(deterministic), Transpose::no, Transpose::no, 1, random_matrix<T>(5, k, 1),
                 random_matrix<T>(k, 6, 2), 0, c);
      for (const double value : to_double(c)) EXPECT_TRUE(std::isfinite(value));
    }
}

TYPED_TEST(Gemm, EmptyExtents) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const Products products;
  const auto c = random_matrix<C>(3, 4, 1);
  auto expected = to_double(c);
  for (double& value : expected) value *= 0.5;
  gemm<T, C>(products, Transpose::no, Transpose::yes, 1, View2<T>("elastic::test::a", 3, 0),
             View2<T>("elastic::test::b", 4, 0), Accumulate<T>(0.5), c);
  EXPECT_TRUE(near(c, expected, 0));
  gemm<T, C>(products, Transpose::no, Transpose::no, 1, View2<T>("elastic::test::a", 0, 2),
             random_matrix<T>(2, 4, 1), 0, prefix(c, 0, 4));
  gemm<T, C>(products, Transpose::no, Transpose::no, 1, random_matrix<T>(3, 2, 1),
             View2<T>("elastic::test::b", 2, 0), 0, prefix(c, 3, 0));
  EXPECT_TRUE(near(c, expected, 0));
}

TYPED_TEST(Gemm, RejectsShapesThatDoNotFit) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const auto multiply = [](Transpose ta, Transpose tb, index_t columns) {
    gemm<T, C>({}, ta, tb, 1, random_matrix<T>(3, 2, 1), random_matrix<T>(2, 4, 1), 0,
               random_matrix<C>(3, columns, 1));
  };
  multiply(Transpose::no, Transpose::no, 4);
  EXPECT_THROW(multiply(Transpose::no, Transpose::yes, 4), ContractError);
  EXPECT_THROW(multiply(Transpose::yes, Transpose::no, 4), ContractError);
  EXPECT_THROW(multiply(Transpose::no, Transpose::no, 5), ContractError);
}

TYPED_TEST(Gemm, CountsOperations) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const double before = counted_flops();
  gemm<T, C>({}, Transpose::no, Transpose::no, 1, random_matrix<T>(3, 4, 1),
             random_matrix<T>(4, 5, 1), 0, random_matrix<C>(3, 5, 1));
  EXPECT_EQ(counted_flops() - before, 2.0 * 3 * 4 * 5);
}

// The bits of an element must depend neither on how much else is computed
// nor on where operands lie.
TYPED_TEST(Gemm, DeterministicPrefixEqualsCopy) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const Products products = route(true);
  const index_t m = 150, n = 77, k = 300;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const auto c0 = random_matrix<C>(m, n, 3);
  const auto whole = clone(c0);
  gemm<T, C>(products, Transpose::no, Transpose::no, Accumulate<T>(0.3), a, b, Accumulate<T>(0.7),
             whole);
  for (const auto& [rows, columns] :
       {std::pair<index_t, index_t>{m, 33}, {1, 1}, {13, n}, {97, 32}}) {
    const auto part = clone(prefix(c0, rows, columns)), copied = clone(prefix(c0, rows, columns));
    gemm<T, C>(products, Transpose::no, Transpose::no, Accumulate<T>(0.3), prefix(a, rows, k),
               prefix(b, k, columns), Accumulate<T>(0.7), part);
    gemm<T, C>(products, Transpose::no, Transpose::no, Accumulate<T>(0.3),
               clone(prefix(a, rows, k)), clone(prefix(b, k, columns)), Accumulate<T>(0.7), copied);
    EXPECT_TRUE(bitwise_equal(part, prefix(whole, rows, columns))) << rows << " " << columns;
    EXPECT_TRUE(bitwise_equal(part, copied)) << rows << " " << columns;
  }
}

TYPED_TEST(Gemm, DeterministicDoesNotSeeTransposes) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
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
  const View2<C> c("elastic::test::c", m, n), d("elastic::test::d", m, n);
  gemm<T, C>(products, Transpose::no, Transpose::no, 1, a, b, 0, c);
  gemm<T, C>(products, Transpose::yes, Transpose::yes, 1, transposed(a), transposed(b), 0, d);
  EXPECT_TRUE(bitwise_equal(c, d));
}

TYPED_TEST(Gemm, DeterministicIgnoresRowsOfZerosInK) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const Products products = route(true);
  const index_t m = 20, n = 40, k = 200, wide = 600;
  const auto a = random_matrix<T>(m, wide, 1), b = random_matrix<T>(wide, n, 2);
  auto values = to_host(a);
  for (index_t i = 0; i < m; ++i)
    for (index_t l = k; l < wide; ++l) values[i * wide + l] = T(0);
  assign(a, values);
  const View2<C> masked("elastic::test::c", m, n), sliced("elastic::test::d", m, n);
  gemm<T, C>(products, Transpose::no, Transpose::no, 1, a, b, 0, masked);
  gemm<T, C>(products, Transpose::no, Transpose::no, 1, prefix(a, m, k), prefix(b, k, n), 0,
             sliced);
  EXPECT_TRUE(bitwise_equal(masked, sliced));
}

/// Where C keeps all bits of a sum.
TYPED_TEST(Gemm, DeterministicInPiecesOfKEqualsOnePiece) {
  using T = typename TypeParam::T;
  using C = Accumulate<T>;
  const Products products = route(true);
  const index_t m = 20, n = 40, k = 300, cut = 77;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const View2<C> whole("elastic::test::c", m, n), pieces("elastic::test::d", m, n);
  const Accumulate<T> alpha = Accumulate<T>(0.7);
  gemm<T, C>(products, Transpose::no, Transpose::no, alpha, a, b, 0, whole);
  gemm<T, C>(products, Transpose::no, Transpose::no, alpha, prefix(a, m, cut), prefix(b, cut, n), 0,
             pieces);
  gemm<T, C>(products, Transpose::no, Transpose::no, alpha,
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
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const index_t m = 13, n = 21, count = 9;
  for (const auto& [unit, active] : {std::pair<index_t, index_t>{1, 1}, {4, 4}, {5, 3}})
    for (const index_t step : {1, 4, 8})
      for (const index_t first : {index_t(0), step - 1}) {
        const auto a = random_matrix<T>(m, count * active, 1),
                   b = random_matrix<T>(count * unit, n, 2);
        const auto c = random_matrix<C>(m, n, 3);
        const auto expected = naive_units(a, b, {unit, first, step}, active, to_double(c));
        gemm_of_units<T, C>(ExecutionSpace(), Transpose::no, a, b, {unit, first, step}, active, 1,
                            c);
        const int roundings = unit == 1 ? 0 : static_cast<int>(count / step);  // near allows one
        EXPECT_TRUE(
            near(c, expected, tolerance<T>(count * active) + roundings * storage_rounding<C>()))
            << unit << " " << active << " " << first << " of " << step;
      }
}

/// One class is the deterministic product of all; a transposed weight changes no bit.
TYPED_TEST(Gemm, ProductsOverAllUnitsAreTheDeterministicProduct) {
  using T = typename TypeParam::T;
  using C = Accumulate<T>;
  const index_t m = 20, n = 33, k = 48;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  std::vector<T> transposed(n * k);
  const auto values = to_host(b);
  for (index_t i = 0; i < k; ++i)
    for (index_t j = 0; j < n; ++j) transposed[j * k + i] = values[i * n + j];
  const View2<C> whole("elastic::test::c", m, n), units("elastic::test::d", m, n),
      by_rows("elastic::test::e", m, n);
  gemm<T, C>(route(true), Transpose::no, Transpose::no, 1, a, b, 0, whole);
  gemm_of_units<T, C>(ExecutionSpace(), Transpose::no, a, b, {6, 0, 1}, 6, 0, units);
  gemm_of_units<T, C>(ExecutionSpace(), Transpose::yes, a, to_device(transposed, n, k), {6, 0, 1},
                      6, 0, by_rows);
  EXPECT_TRUE(bitwise_equal(whole, units));
  EXPECT_TRUE(bitwise_equal(whole, by_rows));
}

/// A rank that has no unit of a class only scales what is there.
TYPED_TEST(Gemm, AnEmptyClassOfUnitsIsZero) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const auto c = random_matrix<C>(3, 4, 1);
  gemm_of_units<T, C>(ExecutionSpace(), Transpose::no, random_matrix<T>(3, 2, 2),
                      random_matrix<T>(2, 4, 3), {1, 5, 8}, 1, 0, c);
  for (const double value : to_double(c)) EXPECT_EQ(value, 0);
}

/// bfloat16 on the deterministic route: the fp32 product of the widened operands, rounded once.
TEST(GemmOfBfloat16, IsTheProductOfTheWidenedValues) {
  const index_t m = 50, n = 45, k = 270;
  const auto a = random_matrix<bfloat16>(m, k, 1), b = random_matrix<bfloat16>(k, n, 2);
  const View2<float> wide("elastic::test::c", m, n), sums("elastic::test::d", m, n);
  const View2<bfloat16> rounded("elastic::test::e", m, n);
  gemm<float>(route(true), Transpose::no, Transpose::no, 1, stored_as<float>(a),
              stored_as<float>(b), 0, wide);
  gemm<bfloat16, float>(route(true), Transpose::no, Transpose::no, 1, a, b, 0, sums);
  gemm<bfloat16>(route(true), Transpose::no, Transpose::no, 1, a, b, 0, rounded);
  EXPECT_TRUE(bitwise_equal(sums, wide));
  EXPECT_TRUE(bitwise_equal(rounded, stored_as<bfloat16>(wide)));
}

/// Gradients of many micro-batches: fp32 keeps terms that bfloat16 sums would lose.
TEST(GemmOfBfloat16, AddsToFp32WithoutLoss) {
  const index_t m = 40, n = 48, k = 64, times = 300;
  const auto a = random_matrix<bfloat16>(k, m, 1), b = random_matrix<bfloat16>(k, n, 2);
  for (const bool deterministic : {false, true}) {
    const View2<float> once("elastic::test::c", m, n), sum("elastic::test::d", m, n);
    gemm<bfloat16, float>(route(deterministic), Transpose::yes, Transpose::no, 1, a, b, 0, once);
    for (index_t i = 0; i < times; ++i)
      gemm<bfloat16, float>(route(deterministic), Transpose::yes, Transpose::no, 1, a, b, 1, sum);
    auto expected = to_double(once);
    for (double& value : expected) value *= times;
    EXPECT_TRUE(near(sum, expected, tolerance<float>(times * k)));
  }
}

/// The route is an argument: products of both kinds can alternate, and none leaves a trace.
TYPED_TEST(Gemm, RoutesDoNotDependOnEarlierProducts) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const index_t m = 40, n = 30, k = 500;
  const auto a = random_matrix<T>(m, k, 1), b = random_matrix<T>(k, n, 2);
  const auto product = [&](bool deterministic) {
    const View2<C> c("elastic::test::c", m, n);
    gemm<T, C>(route(deterministic), Transpose::no, Transpose::no, 1, a, b, 0, c);
    return c;
  };
  const auto fast = product(false), exact = product(true), fast_again = product(false),
             exact_again = product(true);
  EXPECT_TRUE(bitwise_equal(fast, fast_again));
  EXPECT_TRUE(bitwise_equal(exact, exact_again));
}

}  // namespace
}  // namespace elastic::kernels
