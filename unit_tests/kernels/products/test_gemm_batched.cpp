// SPDX-License-Identifier: Apache-2.0
// Batches of products against single ones and against a naive fp64 product.
#include "base/error.hpp"
#include "base/region.hpp"
#include "kernels/products/gemm.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class In, class Out>
struct Stored {
  using T = In;
  using C = Out;
};
template <class Types>
class GemmBatched : public testing::Test {};
using Scalars = testing::Types<Stored<float, float>, Stored<double, double>,
                               Stored<bfloat16, bfloat16>, Stored<bfloat16, float>>;
TYPED_TEST_SUITE(GemmBatched, Scalars);

Transpose flag(bool yes) { return yes ? Transpose::yes : Transpose::no; }

/// How `outer` x `inner` matrices of rows x columns lie in one buffer.
enum class Layout {
  one_by_one,  ///< each a block of its own, with gaps between rows
  heads,       ///< `inner` side by side, as heads of a token; `outer` below each other, as chunks
  shared       ///< one for all `inner`, as B and C of a group for its heads
};

template <class T>
struct Operand {
  View2<T> buffer;
  MatrixBatch<T> batch;

  Operand(Layout layout, BatchCount count, index_t rows, index_t columns, std::uint32_t seed) {
    constexpr index_t gap = 3;
    const index_t across = layout == Layout::heads ? count.inner : 1,
                  below = layout == Layout::one_by_one ? count.products() : count.outer;
    buffer = random_matrix<T>(below * rows, across * columns + gap, seed);
    const index_t ld = leading_dimension(buffer);
    batch = {prefix(buffer, rows, columns), {rows * ld, 0}};
    if (layout == Layout::heads) batch.stride.inner = columns;
    if (layout == Layout::one_by_one) batch.stride = {count.inner * rows * ld, rows * ld};
  }
  View2<T> matrix(index_t p, index_t q) const {
    const index_t ld = leading_dimension(buffer), rows = batch.first.extent(0),
                  columns = batch.first.extent(1),
                  offset = p * batch.stride.outer + q * batch.stride.inner;
    return View2<T>(Kokkos::subview(buffer, Range(offset / ld, offset / ld + rows),
                                    Range(offset % ld, offset % ld + columns)));
  }
  MatrixBatch<const T> input() const { return {batch.first, batch.stride}; }
};

/// Element by element in fp64.
template <class T, class C>
std::vector<double> naive_product(bool ta, bool tb, const View2<T>& a, const View2<T>& b,
                                  double beta, const View2<C>& c) {
  const index_t m = c.extent(0), n = c.extent(1), k = a.extent(ta ? 0 : 1);
  const auto x = to_double(a), y = to_double(b);
  auto result = to_double(c);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j) {
      double sum = beta == 0 ? 0 : beta * result[i * n + j];
      for (index_t l = 0; l < k; ++l)
        sum += (ta ? x[l * m + i] : x[i * k + l]) * (tb ? y[j * k + l] : y[l * n + j]);
      result[i * n + j] = sum;
    }
  return result;
}

TYPED_TEST(GemmBatched, EqualsNaiveProductsInEveryLayout) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  for (const auto& [m, n, k] : {std::array<index_t, 3>{16, 32, 64}, {13, 7, 33}, {1, 40, 5}})
    for (const BatchCount count : {BatchCount{1, 1}, {3, 1}, {1, 4}, {2, 3}})
      for (const Layout layout : {Layout::one_by_one, Layout::heads, Layout::shared})
        for (const bool ta : {false, true})
          for (const bool tb : {false, true})
            for (const double beta : {0.0, 0.5})
              for (const bool deterministic : {false, true}) {
                const Operand<T> a(layout, count, ta ? k : m, ta ? m : k, 1),
                    b(layout == Layout::shared ? Layout::heads : layout, count, tb ? n : k,
                      tb ? k : n, 2);
                const Operand<C> c(layout == Layout::shared ? Layout::heads : layout, count, m, n,
                                   3);
                std::vector<std::vector<double>> expected;
                for (index_t p = 0; p < count.outer; ++p)
                  for (index_t q = 0; q < count.inner; ++q)
                    expected.push_back(naive_product<T, C>(ta, tb, a.matrix(p, q), b.matrix(p, q),
                                                           beta, c.matrix(p, q)));
                gemm_batched<T, C>({.deterministic = deterministic}, count, flag(ta), flag(tb),
                                   a.input(), b.input(), static_cast<Accumulate<T>>(beta), c.batch);
                for (index_t p = 0; p < count.outer; ++p)
                  for (index_t q = 0; q < count.inner; ++q)
                    ASSERT_TRUE(
                        near(c.matrix(p, q), expected[p * count.inner + q], tolerance<T>(k)))
                        << m << " " << n << " " << k << " product " << p << " " << q << " layout "
                        << static_cast<int>(layout) << " ta " << ta << " tb " << tb
                        << (deterministic ? " deterministic" : "");
              }
}

TYPED_TEST(GemmBatched, DeterministicHasTheBitsOfSingleProducts) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const Products products = {.deterministic = true};
  const BatchCount count = {3, 5};
  const index_t m = 100, n = 37, k = 270;
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) {
      const Operand<T> a(Layout::heads, count, ta ? k : m, ta ? m : k, 1),
          b(Layout::shared, count, tb ? n : k, tb ? k : n, 2);
      const Operand<C> c(Layout::heads, count, m, n, 3);
      const auto single = clone(c.buffer);
      gemm_batched<T, C>(products, count, flag(ta), flag(tb), a.input(), b.input(),
                         Accumulate<T>(0.7), c.batch);
      for (index_t p = 0; p < count.outer; ++p)
        for (index_t q = 0; q < count.inner; ++q)
          gemm<T, C>(products, flag(ta), flag(tb), 1, a.matrix(p, q), b.matrix(p, q),
                     Accumulate<T>(0.7),
                     View2<C>(Kokkos::subview(single, Range(p * m, (p + 1) * m),
                                              Range(q * n, (q + 1) * n))));
      EXPECT_TRUE(bitwise_equal(c.buffer, single));  // nothing is written beside the products
    }
}

/// Widths are extents: a batch of prefixes has the bits of a batch of copies.
TYPED_TEST(GemmBatched, DeterministicPrefixEqualsCopy) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const Products products = {.deterministic = true};
  const BatchCount count = {2, 3};
  const index_t m = 30, n = 50, k = 40, columns = 33;
  const Operand<T> a(Layout::heads, count, m, k, 1), b(Layout::one_by_one, count, k, n, 2);
  const Operand<C> c(Layout::heads, count, m, n, 3), d(Layout::heads, count, m, n, 3);
  gemm_batched<T, C>(products, count, Transpose::no, Transpose::no, a.input(), b.input(), 0,
                     c.batch);
  gemm_batched<T, C>(products, count, Transpose::no, Transpose::no, a.input(),
                     {prefix(b.batch.first, k, columns), b.batch.stride}, 0,
                     {prefix(d.batch.first, m, columns), d.batch.stride});
  for (index_t p = 0; p < count.outer; ++p)
    for (index_t q = 0; q < count.inner; ++q)
      EXPECT_TRUE(
          bitwise_equal(prefix(c.matrix(p, q), m, columns), prefix(d.matrix(p, q), m, columns)));
}

TYPED_TEST(GemmBatched, RepeatsItsBits) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const BatchCount count = {4, 6};
  const Operand<T> a(Layout::heads, count, 64, 64, 1), b(Layout::heads, count, 64, 64, 2);
  const Operand<C> c(Layout::heads, count, 64, 64, 3), d(Layout::heads, count, 64, 64, 3);
  for (const auto& result : each_of(c, d))
    gemm_batched<T, C>({}, count, Transpose::no, Transpose::yes, a.input(), b.input(), 1,
                       result.batch);
  EXPECT_TRUE(bitwise_equal(c.buffer, d.buffer));
}

TYPED_TEST(GemmBatched, BetaZeroOverwritesNan) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  for (const bool deterministic : {false, true})
    for (const index_t k : {0, 7}) {
      const View2<C> c("elastic::test::c", 4, 15);
      Kokkos::deep_copy(c, static_cast<C>(std::numeric_limits<float>::quiet_NaN()));
      gemm_batched<T, C>({.deterministic = deterministic}, {1, 3}, Transpose::no, Transpose::no,
                         {random_matrix<T>(4, k, 1), {}}, {random_matrix<T>(k, 5, 2), {}}, 0,
                         {prefix(c, 4, 5), {0, 5}});
      for (const double value : to_double(c)) EXPECT_TRUE(std::isfinite(value));
    }
}

TYPED_TEST(GemmBatched, WithoutTermsScalesAndWithoutProductsDoesNothing) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const auto c = random_matrix<C>(6, 9, 1);
  auto expected = to_double(c);
  for (index_t i = 0; i < 6; ++i)
    for (index_t j = 0; j < 8; ++j) expected[i * 9 + j] *= 0.5;
  const auto multiply = [&](BatchCount count) {
    gemm_batched<T, C>(
        {}, count, Transpose::no, Transpose::no, {View2<T>("elastic::test::a", 3, 0), {}},
        {View2<T>("elastic::test::b", 0, 4), {}}, Accumulate<T>(0.5), {prefix(c, 3, 4), {27, 4}});
  };
  multiply({2, 2});
  EXPECT_TRUE(near(c, expected, 0));
  multiply({0, 2});
  multiply({2, 0});
  EXPECT_TRUE(near(c, expected, 0));
}

TYPED_TEST(GemmBatched, RejectsShapesThatDoNotFitAndSharedResults) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const auto multiply = [](BatchCount count, index_t k, BatchStride stride) {
    gemm_batched<T, C>({}, count, Transpose::no, Transpose::no, {random_matrix<T>(3, k, 1), {}},
                       {random_matrix<T>(2, 4, 2), {}}, 0, {random_matrix<C>(3, 4, 3), stride});
  };
  multiply({1, 1}, 2, {0, 0});
  EXPECT_THROW(multiply({1, 1}, 3, {0, 0}), ContractError);
  EXPECT_THROW(multiply({2, 1}, 2, {0, 4}), ContractError);
  EXPECT_THROW(multiply({1, 2}, 2, {4, 0}), ContractError);
}

TYPED_TEST(GemmBatched, CountsOperations) {
  using T = typename TypeParam::T;
  using C = typename TypeParam::C;
  const BatchCount count = {2, 3};
  const Operand<T> a(Layout::heads, count, 3, 4, 1), b(Layout::heads, count, 4, 5, 2);
  const Operand<C> c(Layout::heads, count, 3, 5, 3);
  const double before = counted_flops();
  gemm_batched<T, C>({}, count, Transpose::no, Transpose::no, a.input(), b.input(), 0, c.batch);
  EXPECT_EQ(counted_flops() - before, 6 * 2.0 * 3 * 4 * 5);
}

}  // namespace
}  // namespace elastic::kernels
