// SPDX-License-Identifier: Apache-2.0
// oneDNN's matmul alone: products that it is given in pieces, its memory of compiled products, and
// threads. Values of all shapes and strides: test_gemm.cpp, test_gemm_batched.cpp.
#include <thread>

#include "kernels/products/gemm_deterministic.hpp"
#include "kernels/products/library_matmul.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::kernels {
namespace {

using namespace elastic::test;

template <class C>
void multiply(Transpose ta, Transpose tb, const View2<bfloat16>& a, const View2<bfloat16>& b,
              float beta, const View2<C>& c) {
  const auto k = static_cast<index_t>(a.extent(ta == Transpose::yes ? 0 : 1));
  matmul_products<bfloat16, C>(ExecutionSpace(), {}, k, 1, operand<bfloat16>(a, ta),
                               operand<bfloat16>(b, tb), beta, {c});
}

template <class C>
void expect_the_deterministic_product(Transpose ta, Transpose tb, index_t m, index_t n, index_t k) {
  const bool transposed_a = ta == Transpose::yes, transposed_b = tb == Transpose::yes;
  const auto a = random_matrix<bfloat16>(transposed_a ? k : m, transposed_a ? m : k, 1),
             b = random_matrix<bfloat16>(transposed_b ? n : k, transposed_b ? k : n, 2);
  const auto c = random_matrix<C>(m, n, 3);
  const auto expected = stored_as<float>(c);
  multiply(ta, tb, a, b, 1, c);
  deterministic_product<bfloat16, float>(ExecutionSpace(), k, 1, operand<bfloat16>(a, ta),
                                         operand<bfloat16>(b, tb), 1, expected);
  EXPECT_TRUE(near(c, expected, tolerance<bfloat16>(k))) << m << " " << n << " " << k;
}

/// Dense operands with long sums take another route, for which C is cut into columns.
TEST(DnnlMatmul, ProductsWithLongSumsAreWhole) {
  if (!has_matmul<bfloat16>()) GTEST_SKIP() << "no bf16 instructions";
  for (const index_t n : {511, 512, 1100}) {
    expect_the_deterministic_product<float>(Transpose::yes, Transpose::no, 300, n, 1030);
    expect_the_deterministic_product<bfloat16>(Transpose::no, Transpose::no, 257, n, 3072);
    expect_the_deterministic_product<bfloat16>(Transpose::no, Transpose::yes, 257, n, 4100);
  }
}

/// Strided results of bfloat16 are cut into blocks, of rows and of columns.
TEST(DnnlMatmul, StridedResultsAreWhole) {
  if (!has_matmul<bfloat16>()) GTEST_SKIP() << "no bf16 instructions";
  const index_t k = 20;
  for (const auto& [m, n] : {std::pair<index_t, index_t>{1200, 700}, {520, 1300}, {3000, 90}}) {
    const auto a = random_matrix<bfloat16>(m, k, 1), b = random_matrix<bfloat16>(k, n, 2);
    const View2<bfloat16> parent("elastic::test::c", m, n + 40);
    const View2<float> expected("elastic::test::d", m, n);
    multiply(Transpose::no, Transpose::no, a, b, 0, prefix(parent, m, n));
    deterministic_product<bfloat16, float>(ExecutionSpace(), k, 1,
                                           operand<bfloat16>(a, Transpose::no),
                                           operand<bfloat16>(b, Transpose::no), 0, expected);
    EXPECT_TRUE(near(prefix(parent, m, n), expected, tolerance<bfloat16>(k))) << m << " " << n;
    const View2<bfloat16> beside(Kokkos::subview(parent, Kokkos::ALL, Range(n, n + 40)));
    for (const double value : to_double(beside)) ASSERT_EQ(value, 0);
  }
}

/// More shapes than are kept: the first is compiled again and gives the same bits.
TEST(DnnlMatmul, ForgetsShapesWithoutHarm) {
  if (!has_matmul<bfloat16>()) GTEST_SKIP() << "no bf16 instructions";
  const index_t most = 36;
  const auto a = random_matrix<bfloat16>(most, most, 1), b = random_matrix<bfloat16>(most, most, 2);
  const auto product = [&](index_t m, index_t n) {
    const View2<float> c("elastic::test::c", m, n);
    multiply(Transpose::no, Transpose::no, prefix(a, m, most), prefix(b, most, n), 0, c);
    return c;
  };
  const auto first = product(most, most);
  for (index_t m = 1; m <= most; ++m)
    for (index_t n = 1; n < most; ++n) {
      const auto c = product(m, n);
      ASSERT_TRUE(near(c, prefix(first, m, n), tolerance<float>(most))) << m << " " << n;
    }
  EXPECT_TRUE(bitwise_equal(product(most, most), first));
}

TEST(DnnlMatmul, ThreadsMultiplyAtTheSameTime) {
  if (!has_matmul<bfloat16>()) GTEST_SKIP() << "no bf16 instructions";
  constexpr int num_threads = 4, times = 25;
  const index_t n = 150;
  std::vector<View2<bfloat16>> a, b, c, expected;
  for (int t = 0; t < num_threads; ++t) {
    a.push_back(random_matrix<bfloat16>(n + t, n, 2 * t + 1));
    b.push_back(random_matrix<bfloat16>(n, n + 8, 2 * t + 2));
    c.push_back(random_matrix<bfloat16>(n + t, n + 8, 3));
    expected.push_back(random_matrix<bfloat16>(n + t, n + 8, 4));
    multiply(Transpose::no, Transpose::no, a[t], prefix(b[t], n, n), 0,
             prefix(expected[t], n + t, n));
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < num_threads; ++t)
    threads.emplace_back([&, t, left = prefix(b[t], n, n), out = prefix(c[t], n + t, n)] {
      for (int i = 0; i < times; ++i) multiply(Transpose::no, Transpose::no, a[t], left, 0, out);
    });
  for (auto& thread : threads) thread.join();
  for (int t = 0; t < num_threads; ++t)
    EXPECT_TRUE(bitwise_equal(prefix(c[t], n + t, n), prefix(expected[t], n + t, n))) << t;
}

}  // namespace
}  // namespace elastic::kernels
