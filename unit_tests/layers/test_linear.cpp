// SPDX-License-Identifier: Apache-2.0
// Products on units of rows or columns of a wider weight, against the same product on a copy.
#include "layers/linear.hpp"
#include "layers/unit_sum.hpp"

#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr index_t kTokens = 5, kOther = 4, kBlock = 3, kUnits = 4;

/// Rows of the active part, as one list of indices.
std::vector<index_t> indices(const UnitRows& units) {
  std::vector<index_t> result;
  for (index_t u = 0; u < units.count; ++u)
    for (index_t i = 0; i < units.active; ++i) result.push_back(u * units.unit + i);
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

/// What a UnitSum needs of a context.
LayerContext context_of(Arena& arena, bool deterministic) {
  return {.exec = {},
          .deterministic = deterministic,
          .arena = &arena,
          .batch = 1,
          .seq_length = kTokens,
          .segment = {}};
}

template <class T>
void check_output_units(UnitRows units, bool deterministic) {
  const index_t ld = kOther + 2, n = units.size();
  const auto all = random_matrix<T>(kBlock * kUnits, ld, 1);
  const View2<T> dall("elastic::test::dweight", kBlock * kUnits, ld);
  const auto x = random_matrix<T>(kTokens, kOther, 2), dy = random_matrix<T>(kTokens, n, 3);
  const View2<T> y("elastic::test::y", kTokens, n), dx("elastic::test::dx", kTokens, kOther);
  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy);
  linear_forward<T>({.deterministic = deterministic}, x, all, units, y);
  linear_weight_gradient<T>({.deterministic = deterministic}, dy, x, dall, units);
  Arena arena;
  const auto context = context_of(arena, deterministic);
  UnitSum<T> sum(context, {}, dx);
  for (int twice = 0; twice < 2; ++twice) sum.add_rows(dy, all, units);
  sum.finish();

  const auto rows = indices(units);
  const auto at_w = [&](index_t r, index_t c) { return h_w[rows[r] * ld + c]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * kOther + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * n + r]; };
  EXPECT_TRUE(
      near(y, product(kTokens, n, kOther, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
           tolerance<T>(kOther)));
  auto expected = product(kTokens, kOther, n, at_dy, at_w);
  for (double& value : expected) value *= 2;
  EXPECT_TRUE(near(dx, expected, tolerance<T>(2 * n)));
  const auto dw = product(
      n, kOther, kTokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all(kBlock * kUnits * ld);
  for (index_t r = 0; r < n; ++r)
    for (index_t c = 0; c < kOther; ++c) dw_all[rows[r] * ld + c] = dw[r * kOther + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<T>(kTokens)));
}

template <class T>
void check_input_units(UnitRows units, bool deterministic) {
  const index_t ld = kBlock * kUnits, n = units.size();
  const auto all = random_matrix<T>(kOther + 1, ld, 1);
  const View2<T> dall("elastic::test::dweight", kOther + 1, ld);
  const auto x = random_matrix<T>(kTokens, n, 2), dy = random_matrix<T>(kTokens, kOther, 3);
  const View2<T> y("elastic::test::y", kTokens, kOther), dx("elastic::test::dx", kTokens, n);
  Arena arena;
  linear_of_units<T>(context_of(arena, deterministic), {}, x, all, units, y);
  linear_units_input_backward<T>({.deterministic = deterministic}, dy, x, all, dall, units, dx);

  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy);
  const auto columns = indices(units);
  const auto at_w = [&](index_t r, index_t c) { return h_w[r * ld + columns[c]]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * n + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * kOther + r]; };
  EXPECT_TRUE(
      near(y, product(kTokens, kOther, n, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
           tolerance<T>(n)));
  EXPECT_TRUE(near(dx, product(kTokens, n, kOther, at_dy, at_w), tolerance<T>(kOther)));
  const auto dw = product(
      kOther, n, kTokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all((kOther + 1) * ld);
  for (index_t r = 0; r < kOther; ++r)
    for (index_t c = 0; c < n; ++c) dw_all[r * ld + columns[c]] = dw[r * n + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<T>(kTokens)));
}

template <class T>
void check_units() {
  for (const UnitRows& units : {UnitRows::prefix(7), UnitRows{3, kBlock, 2},
                                UnitRows{4, kBlock, kBlock}, UnitRows{1, kBlock, 1}}) {
    for (const bool deterministic : {false, true}) {
      check_output_units<T>(units, deterministic);
      check_input_units<T>(units, deterministic);
    }
  }
}

TEST(Linear, UnitsOfAWiderWeight) {
  check_units<float>();
  check_units<double>();
}

TEST(Linear, WholeUnitsAreMerged) {
  const auto whole = UnitRows{4, 3, 3}.merged(), cut = UnitRows{4, 3, 2}.merged();
  EXPECT_EQ(whole.count, 1);
  EXPECT_EQ(whole.active, 12);
  EXPECT_EQ(cut.count, 4);
  EXPECT_EQ(cut.size(), 8);
}

}  // namespace
}  // namespace elastic::test
