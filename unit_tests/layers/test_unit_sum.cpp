// SPDX-License-Identifier: Apache-2.0
// Sums over units that are sharded over ranks, the ranks played one after the other.
#include "layers/unit_sum.hpp"

#include <array>

#include "unit_tests/layers/unit_sum_context.hpp"
#include "unit_tests/support/views.hpp"

namespace elastic::test {
namespace {

constexpr index_t num_tokens = 5, other_width = 4;

/// Columns (rows) of the units of one rank, below each other.
template <class T>
View2<T> shard_columns(const View2<T>& all, index_t unit, const Shard& shard) {
  const index_t rows = all.extent_int(0), columns = all.extent_int(1),
                mine = local_count(columns / unit, shard) * unit;
  const auto h_all = to_host(all);
  std::vector<T> part;
  for (index_t i = 0; i < rows; ++i)
    for (index_t j = 0; j < mine; ++j)
      part.push_back(h_all[i * columns + global_index(j, unit, shard)]);
  return to_device(part, rows, mine);
}
template <class T>
View2<T> shard_rows(const View2<T>& all, index_t unit, const Shard& shard) {
  const index_t columns = all.extent_int(1),
                mine = local_count(all.extent_int(0) / unit, shard) * unit;
  const auto h_all = to_host(all);
  std::vector<T> part;
  for (index_t i = 0; i < mine; ++i)
    for (index_t j = 0; j < columns; ++j)
      part.push_back(h_all[global_index(i, unit, shard) * columns + j]);
  return to_device(part, mine, columns);
}

/// The parts of `ranks` ranks, added up as ranks would: distance ranks/2, ..., 1.
template <class T>
std::vector<T> sum_over_ranks(std::vector<std::vector<T>> parts) {
  for (std::size_t half = parts.size() / 2; half > 0; half /= 2)
    for (std::size_t r = 0; r < half; ++r)
      for (std::size_t i = 0; i < parts[r].size(); ++i) parts[r][i] += parts[r + half][i];
  return parts[0];
}

template <class T>
void check_sums_of_ranks(index_t units, index_t unit, index_t active) {
  SCOPED_TRACE(fmt::format("{} units of {} of {}", units, active, unit));
  const auto x = random_matrix<T>(num_tokens, units * active, 1);
  const auto by_columns = random_matrix<T>(other_width, units * unit, 2),
             by_rows = random_matrix<T>(units * unit, other_width, 3);
  std::vector<Accumulate<T>> expected;
  for (const int ranks : {1, 2, 4, 8}) {
    std::vector<std::vector<Accumulate<T>>> parts;
    for (int r = 0; r < ranks; ++r) {
      Arena arena;
      const auto context = context_of(arena, num_tokens, true);
      const Shard shard{r, ranks};
      const View2<Accumulate<T>> y("elastic::test::y", num_tokens, other_width);
      const UnitRows mine{local_count(units, shard), unit, active};
      const auto my_x = shard_columns(x, active, shard);
      UnitSum<T> sum(context, shard, y);
      sum.add_columns(my_x, shard_columns(by_columns, unit, shard), mine);
      sum.add_rows(my_x, shard_rows(by_rows, unit, shard), mine);
      sum.finish();
      parts.push_back(to_host(y));
    }
    const auto sum = sum_over_ranks(parts);
    if (ranks == 1) expected = sum;
    EXPECT_TRUE(bitwise_equal(to_device(sum), expected)) << ranks << " ranks";
  }
}

TEST(UnitSum, DeterministicSumsDoNotDependOnTheNumberOfRanks) {
  for (const auto& [units, unit, active] :
       {std::array<index_t, 3>{37, 1, 1}, {16, 5, 5}, {16, 5, 3}, {9, 2, 2}}) {
    check_sums_of_ranks<bfloat16>(units, unit, active);
    check_sums_of_ranks<float>(units, unit, active);
    check_sums_of_ranks<double>(units, unit, active);
  }
}

/// y = x W^T + g V in double.
std::vector<double> two_terms(const std::vector<double>& x, const std::vector<double>& w,
                              const std::vector<double>& g, const std::vector<double>& v,
                              index_t units) {
  std::vector<double> y(num_tokens * other_width);
  for (index_t t = 0; t < num_tokens; ++t)
    for (index_t d = 0; d < other_width; ++d)
      for (index_t i = 0; i < units; ++i)
        y[t * other_width + d] +=
            x[t * units + i] * w[d * units + i] + g[t * units + i] * v[i * other_width + d];
  return y;
}

TEST(UnitSum, AddsTermsAndOverwritesWhatWasThere) {
  const index_t units = 11;
  for (const bool deterministic : {false, true}) {
    Arena arena;
    const auto context = context_of(arena, num_tokens, deterministic);
    const auto x = random_matrix<double>(num_tokens, units, 1),
               w = random_matrix<double>(other_width, units, 2),
               g = random_matrix<double>(num_tokens, units, 3),
               v = random_matrix<double>(units, other_width, 4),
               y = random_matrix<double>(num_tokens, other_width, 5);
    UnitSum<double> sum(context, {}, y);
    sum.add_columns(x, w, UnitRows::units(units));
    sum.add_rows(g, v, UnitRows::units(units));
    sum.finish();
    EXPECT_TRUE(near(y, two_terms(to_double(x), to_double(w), to_double(g), to_double(v), units),
                     tolerance<double>(2 * units)));
  }
}

TEST(UnitSum, WithoutTermsIsADefect) {
  Arena arena;
  const auto context = context_of(arena, num_tokens, false);
  const View2<float> y("elastic::test::y", num_tokens, other_width);
  UnitSum<float> sum(context, {}, y);
  EXPECT_THROW(sum.finish(), ContractError);
}

TEST(UnitSum, DeterministicSumsNeedADivisorOfTheClasses) {
  Arena arena;
  const auto context = context_of(arena, num_tokens, true);
  const View2<float> y("elastic::test::y", num_tokens, other_width);
  EXPECT_THROW(UnitSum<float>(context, Shard{0, 3}, y), ContractError);
  EXPECT_NO_THROW(UnitSum<float>(context, Shard{0, 4}, y));
}

}  // namespace
}  // namespace elastic::test
