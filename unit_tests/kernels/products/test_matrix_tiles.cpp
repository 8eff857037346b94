// SPDX-License-Identifier: Apache-2.0
// Packed products of bfloat16 blocks against fp64 loops; the units of the processor, where it has
// them, against plain loops to the bit.
#include "kernels/products/matrix_tiles.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "kernels/products/block_product.hpp"
#include "unit_tests/support/views.hpp"

using namespace elastic;
using namespace elastic::test;
using namespace elastic::kernels;

namespace {
using Matrix = std::vector<bfloat16>;

Matrix random_values(index_t count, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  Matrix values(static_cast<std::size_t>(count));
  for (bfloat16& x : values) x = bfloat16(normal(engine));
  return values;
}
struct Problem {
  index_t m, n, k;
  Matrix a, b;  ///< row-major [m, k] and [k, n]

  Problem(index_t m_, index_t n_, index_t k_)
      : m(m_), n(n_), k(k_), a(random_values(m * k, 1)), b(random_values(k * n, 2)) {}
  double expected(index_t i, index_t j) const {
    double sum = 0;
    for (index_t l = 0; l < k; ++l)
      sum += double(widen(a[size_t(i * k + l)])) * double(widen(b[size_t(l * n + j)]));
    return sum;
  }
};
Matrix transposed(const Matrix& source, index_t rows, index_t columns) {
  Matrix target(source.size());
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < columns; ++j)
      target[size_t(j * rows + i)] = source[size_t(i * columns + j)];
  return target;
}
/// Twice the product, the second time added; operands as they come from row-major or from
/// transposed matrices.
std::vector<float> product(const Problem& p, bool units, bool from_transposed, index_t& ld) {
  const index_t depth = padded_depth(p.k), rows = padded(p.m), columns = padded(p.n);
  Matrix a(size_t(rows * depth), bfloat16(99)), b(size_t(depth * columns), bfloat16(99));
  if (from_transposed) {
    pack_rows_transposed(a.data(), depth, transposed(p.a, p.m, p.k).data(), p.m, p.m, p.k);
    pack_pairs_transposed(b.data(), columns, transposed(p.b, p.k, p.n).data(), p.k, p.k, p.n);
  } else {
    a.assign(a.size(), bfloat16(0));
    for (index_t i = 0; i < p.m; ++i)
      for (index_t l = 0; l < p.k; ++l) a[size_t(i * depth + l)] = p.a[size_t(i * p.k + l)];
    pack_pairs(b.data(), columns, p.b.data(), p.n, p.k, p.n);
  }
  ld = columns + 3;
  std::vector<float> c(size_t(rows * ld), 7.0f);
  const MatrixTiles tiles(units);
  const MatrixTiles::Extents extents{rows, columns, depth};
  tiles.multiply(extents, a.data(), depth, b.data(), columns, c.data(), ld);
  tiles.multiply_add(extents, a.data(), depth, b.data(), columns, c.data(), ld);
  return c;
}
const index_t shapes[][3] = {{1, 1, 1},      {16, 16, 32}, {64, 64, 64},
                             {128, 80, 128}, {48, 16, 40}, {16, 48, 33},
                             {80, 128, 37},  {61, 77, 95}, {150, 9, 70}};

TEST(MatrixTiles, EqualPlainSums) {
  for (const auto& [m, n, k] : shapes)
    for (const bool transposed : {false, true}) {
      const Problem p(m, n, k);
      index_t ld = 0;
      const auto c = product(p, true, transposed, ld);
      for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j < n; ++j)
          EXPECT_NEAR(c[size_t(i * ld + j)], 2 * p.expected(i, j), 1e-5 * std::sqrt(double(k)) * 4)
              << m << " x " << n << " x " << k << " at " << i << ", " << j;
      EXPECT_EQ(c[size_t(padded(n))], 7.0f);  // beyond the columns
    }
}
TEST(MatrixTiles, UnitsAndPlainLoopsGiveEqualBits) {
  if (!has_matrix_units()) GTEST_SKIP() << "no AMX here: only the plain loops ran";
  for (const auto& [m, n, k] : shapes) {
    const Problem p(m, n, k);
    index_t ld = 0;
    EXPECT_EQ(product(p, true, true, ld), product(p, false, false, ld))
        << m << " x " << n << " x " << k;
  }
}
TEST(MatrixTiles, ZerosBehindAnOperandChangeNoBit) {
  const Problem p(32, 16, 32);
  Problem wide(32, 16, 96);
  for (index_t i = 0; i < 32; ++i)
    for (index_t l = 0; l < 96; ++l)
      wide.a[size_t(i * 96 + l)] = l < 32 ? p.a[size_t(i * 32 + l)] : bfloat16(0);
  for (index_t l = 0; l < 32 * 16; ++l) wide.b[size_t(l)] = p.b[size_t(l)];
  index_t ld = 0;
  for (const bool units : {false, true})
    EXPECT_EQ(product(p, units, false, ld), product(wide, units, false, ld));
}
}  // namespace
