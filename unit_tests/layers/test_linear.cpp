// SPDX-License-Identifier: Apache-2.0
// Products on blocks of rows or columns of a wider weight, against the same product on a copy.
#include "layers/linear.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr index_t kTokens = 5, kOther = 4, kBlock = 3, kUnits = 4;

/// Rows of the active part, as one list of indices.
std::vector<index_t> indices(const Blocks& blocks) {
  std::vector<index_t> result;
  for (index_t b = 0; b < blocks.count; ++b)
    for (index_t i = 0; i < blocks.active; ++i) result.push_back(b * blocks.block + i);
  return result;
}

/// c[i, j] = sum_k a(i, k) b(k, j)
template <class A, class B>
std::vector<double> product(index_t m, index_t n, index_t k, const A& a, const B& b) {
  std::vector<double> c(m * n);
  for (index_t i = 0; i < m; ++i)
    for (index_t j = 0; j < n; ++j)
      for (index_t l = 0; l < k; ++l) c[i * n + j] += a(i, l) * b(l, j);
  return c;
}

template <class S>
void check_output_blocks(Blocks blocks, bool accumulate) {
  const index_t ld = kOther + 2, n = blocks.size();
  const auto all = random_matrix<S>(kBlock * kUnits, ld, 1);
  const View2<S> dall("elastic::test::dweight", kBlock * kUnits, ld);
  const auto x = random_matrix<S>(kTokens, kOther, 2), dy = random_matrix<S>(kTokens, n, 3);
  const View2<S> y("elastic::test::y", kTokens, n);
  const auto dx = random_matrix<S>(kTokens, kOther, 4);
  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy), h_dx = to_double(dx);
  linear_forward<S>({}, x, all, blocks, y);
  linear_backward<S>({}, dy, x, all, dall, blocks, accumulate, dx);

  const auto rows = indices(blocks);
  const auto at_w = [&](index_t r, index_t c) { return h_w[rows[r] * ld + c]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * kOther + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * n + r]; };
  EXPECT_TRUE(
      near(y, product(kTokens, n, kOther, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
           tolerance<S>(kOther)));
  auto expected = product(kTokens, kOther, n, at_dy, at_w);
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += accumulate ? h_dx[i] : 0;
  EXPECT_TRUE(near(dx, expected, tolerance<S>(n)));
  const auto dw = product(
      n, kOther, kTokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all(kBlock * kUnits * ld);
  for (index_t r = 0; r < n; ++r)
    for (index_t c = 0; c < kOther; ++c) dw_all[rows[r] * ld + c] = dw[r * kOther + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<S>(kTokens)));
}

template <class S>
void check_input_blocks(Blocks blocks) {
  const index_t ld = kBlock * kUnits, n = blocks.size();
  const auto all = random_matrix<S>(kOther + 1, ld, 1);
  const View2<S> dall("elastic::test::dweight", kOther + 1, ld);
  const auto x = random_matrix<S>(kTokens, n, 2), dy = random_matrix<S>(kTokens, kOther, 3);
  const View2<S> y("elastic::test::y", kTokens, kOther), dx("elastic::test::dx", kTokens, n);
  linear_blocked_input_forward<S>({}, x, all, blocks, y);
  linear_blocked_input_backward<S>({}, dy, x, all, dall, blocks, dx);

  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy);
  const auto columns = indices(blocks);
  const auto at_w = [&](index_t r, index_t c) { return h_w[r * ld + columns[c]]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * n + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * kOther + r]; };
  EXPECT_TRUE(
      near(y, product(kTokens, kOther, n, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
           tolerance<S>(n)));
  EXPECT_TRUE(near(dx, product(kTokens, n, kOther, at_dy, at_w), tolerance<S>(kOther)));
  const auto dw = product(
      kOther, n, kTokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all((kOther + 1) * ld);
  for (index_t r = 0; r < kOther; ++r)
    for (index_t c = 0; c < n; ++c) dw_all[r * ld + columns[c]] = dw[r * n + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<S>(kTokens)));
}

template <class S>
void check_blocks() {
  for (const Blocks& blocks :
       {Blocks::prefix(7), Blocks{3, kBlock, 2}, Blocks{4, kBlock, kBlock}, Blocks{1, kBlock, 1}}) {
    check_output_blocks<S>(blocks, false);
    check_output_blocks<S>(blocks, true);
    check_input_blocks<S>(blocks);
  }
}

TEST(Linear, BlocksOfAWiderWeight) {
  check_blocks<float>();
  check_blocks<double>();
}

TEST(Linear, WholeBlocksAreMerged) {
  const auto whole = Blocks{4, 3, 3}.merged(), cut = Blocks{4, 3, 2}.merged();
  EXPECT_EQ(whole.count, 1);
  EXPECT_EQ(whole.active, 12);
  EXPECT_EQ(cut.count, 4);
  EXPECT_EQ(cut.size(), 8);
}

}  // namespace
}  // namespace elastic::test
