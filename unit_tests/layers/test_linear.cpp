// SPDX-License-Identifier: Apache-2.0
// Products on units of rows or columns of a wider weight, against the same product on a copy.
#include "layers/linear.hpp"
#include "layers/unit_sum.hpp"

#include "unit_tests/layers/unit_sum_context.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr index_t num_tokens = 5, other_width = 4, unit_size = 3, num_units = 4;

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

template <class T>
void check_output_units(UnitRows units, bool deterministic) {
  const index_t ld = other_width + 2, n = units.size();
  const auto all = random_matrix<T>(unit_size * num_units, ld, 1);
  const View2<Accumulate<T>> dall("elastic::test::dweight", unit_size * num_units, ld);
  Kokkos::deep_copy(dall, Accumulate<T>(0.5));  // weight gradients accumulate
  const auto x = random_matrix<T>(num_tokens, other_width, 2),
             dy = random_matrix<T>(num_tokens, n, 3);
  const View2<T> y("elastic::test::y", num_tokens, n);
  const View2<Accumulate<T>> dx("elastic::test::dx", num_tokens, other_width);
  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy);
  linear_forward<T>({.deterministic = deterministic}, x, all, units, y);
  linear_weight_gradient<T>({.deterministic = deterministic}, dy, x, dall, units);
  Arena arena;
  const auto context = context_of(arena, num_tokens, deterministic);
  UnitSum<T> sum(context, {}, dx);
  for (int twice = 0; twice < 2; ++twice) sum.add_rows(dy, all, units);
  sum.finish();

  const auto rows = indices(units);
  const auto at_w = [&](index_t r, index_t c) { return h_w[rows[r] * ld + c]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * other_width + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * n + r]; };
  EXPECT_TRUE(near(
      y,
      product(num_tokens, n, other_width, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
      tolerance<T>(other_width)));
  auto expected = product(num_tokens, other_width, n, at_dy, at_w);
  for (double& value : expected) value *= 2;
  EXPECT_TRUE(near(dx, expected, tolerance<T>(2 * n)));
  const auto dw = product(
      n, other_width, num_tokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all(unit_size * num_units * ld, 0.5);
  for (index_t r = 0; r < n; ++r)
    for (index_t c = 0; c < other_width; ++c) dw_all[rows[r] * ld + c] += dw[r * other_width + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<T>(num_tokens)));
}

template <class T>
void check_input_units(UnitRows units, bool deterministic) {
  const index_t ld = unit_size * num_units, n = units.size();
  const auto all = random_matrix<T>(other_width + 1, ld, 1);
  const View2<Accumulate<T>> dall("elastic::test::dweight", other_width + 1, ld);
  Kokkos::deep_copy(dall, Accumulate<T>(0.5));
  const auto x = random_matrix<T>(num_tokens, n, 2),
             dy = random_matrix<T>(num_tokens, other_width, 3);
  const View2<Accumulate<T>> y("elastic::test::y", num_tokens, other_width);
  const View2<T> dx("elastic::test::dx", num_tokens, n);
  Arena arena;
  linear_of_units<T>(context_of(arena, num_tokens, deterministic), {}, x, all, units, y);
  linear_units_input_backward<T>({.deterministic = deterministic}, dy, x, all, dall, units, dx);

  const auto h_w = to_double(all), h_x = to_double(x), h_dy = to_double(dy);
  const auto columns = indices(units);
  const auto at_w = [&](index_t r, index_t c) { return h_w[r * ld + columns[c]]; };
  const auto at_x = [&](index_t t, index_t c) { return h_x[t * n + c]; };
  const auto at_dy = [&](index_t t, index_t r) { return h_dy[t * other_width + r]; };
  EXPECT_TRUE(near(
      y,
      product(num_tokens, other_width, n, at_x, [&](index_t k, index_t j) { return at_w(j, k); }),
      tolerance<T>(n)));
  EXPECT_TRUE(
      near(dx, product(num_tokens, n, other_width, at_dy, at_w), tolerance<T>(other_width)));
  const auto dw = product(
      other_width, n, num_tokens, [&](index_t i, index_t k) { return at_dy(k, i); }, at_x);
  std::vector<double> dw_all((other_width + 1) * ld, 0.5);
  for (index_t r = 0; r < other_width; ++r)
    for (index_t c = 0; c < n; ++c) dw_all[r * ld + columns[c]] += dw[r * n + c];
  EXPECT_TRUE(near(dall, dw_all, tolerance<T>(num_tokens)));
}

template <class T>
void check_units() {
  for (const UnitRows& units : {UnitRows::prefix(7), UnitRows{3, unit_size, 2},
                                UnitRows{4, unit_size, unit_size}, UnitRows{1, unit_size, 1}}) {
    for (const bool deterministic : {false, true}) {
      check_output_units<T>(units, deterministic);
      check_input_units<T>(units, deterministic);
    }
  }
}

TEST(Linear, UnitsOfAWiderWeight) {
  check_units<bfloat16>();
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
