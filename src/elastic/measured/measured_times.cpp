// SPDX-License-Identifier: Apache-2.0
#include "elastic/measured/measured_times.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace elastic {
namespace {
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The solution of a symmetric positive definite system, by Cholesky's factors in place.
std::vector<double> solve(std::vector<std::vector<double>> m, std::vector<double> x) {
  const std::size_t n = x.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = m[i][j];
      for (std::size_t k = 0; k < j; ++k) sum -= m[i][k] * m[j][k];
      m[i][j] = i == j ? std::sqrt(std::max(sum, 1e-300)) : sum / m[j][j];
    }
    for (std::size_t k = 0; k < i; ++k) x[i] -= m[i][k] * x[k];
    x[i] /= m[i][i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) x[i] -= m[k][i] * x[k];
    x[i] /= m[i][i];
  }
  return x;
}

/// Least squares with the columns of `a` whose numbers are in `used`.
std::vector<double> least_squares(const std::vector<std::vector<double>>& columns,
                                  const std::vector<std::size_t>& used,
                                  const std::vector<double>& b) {
  std::vector<std::vector<double>> normal;
  std::vector<double> right;
  for (const auto i : used) {
    auto& row = normal.emplace_back();
    for (const auto j : used) row.push_back(dot(columns[i], columns[j]));
    right.push_back(dot(columns[i], b));
  }
  return solve(normal, right);
}

/// What of a column is not a sum of others, by Gram and Schmidt; as a part of it.
bool is_independent(std::vector<double> column, std::vector<std::vector<double>>& basis) {
  constexpr double part = 1e-4;
  const double before = std::sqrt(dot(column, column));
  for (int pass = 0; pass < 2; ++pass)
    for (const auto& direction : basis) {
      const double along = dot(column, direction);
      for (std::size_t i = 0; i < column.size(); ++i) column[i] -= along * direction[i];
    }
  const double rest = std::sqrt(dot(column, column));
  if (rest <= part * before) return false;
  for (double& x : column) x /= rest;
  basis.push_back(std::move(column));
  return true;
}

}  // namespace

TimeTerms time_terms(const LayerExtents& e) {
  return {1, e.hidden, e.width, e.hidden * e.width, e.inner, e.hidden * e.inner};
}

double TimeLaw::seconds(const LayerExtents& extents) const {
  const auto terms = time_terms(extents);
  double sum = 0;
  for (std::size_t i = 0; i < num_time_terms; ++i) sum += factors[i] * terms[i];
  return sum;
}

LayerExtents TimeLaw::gradient(const LayerExtents& e) const {
  const auto& f = factors;
  return {.hidden = f[1] + f[3] * e.width + f[5] * e.inner,
          .width = f[2] + f[3] * e.hidden,
          .inner = f[4] + f[5] * e.hidden};
}

const TimeLaw& MeasuredTimes::of(const LayerShape& layer) const {
  for (const auto& times : layers)
    if (times.layer == layer) return times.law;
  throw InputError(fmt::format(
      "the measured times know no layer {} of width {} with {} head channels and {} groups",
      layer.symbol(), layer.width, layer.head_channels, layer.num_groups));
}

std::vector<double> nonnegative_least_squares(const std::vector<std::vector<double>>& a,
                                              const std::vector<double>& b) {
  const std::size_t n = a.empty() ? 0 : a[0].size();
  std::vector<std::vector<double>> columns(n);
  for (const auto& row : a)
    for (std::size_t j = 0; j < n; ++j) columns[j].push_back(row[j]);
  std::vector<double> x(n, 0.0);
  std::vector<bool> is_used(n, false);
  const auto numbers = [&] {
    std::vector<std::size_t> used;
    for (std::size_t j = 0; j < n; ++j)
      if (is_used[j]) used.push_back(j);
    return used;
  };
  for (std::size_t round = 0; round < 10 * n + 10; ++round) {
    std::vector<double> residual = b;
    for (std::size_t i = 0; i < a.size(); ++i) residual[i] -= dot(a[i], x);
    std::size_t best = n;
    double steepest = 0;
    for (std::size_t j = 0; j < n; ++j) {
      const double slope = dot(columns[j], residual) / std::sqrt(dot(columns[j], columns[j]));
      if (!is_used[j] && slope > steepest) steepest = slope, best = j;
    }
    if (best == n || steepest <= 1e-12 * std::sqrt(dot(b, b))) break;
    is_used[best] = true;
    for (;;) {  // back to where the first becomes negative, without it
      const auto used = numbers();
      const auto wanted = least_squares(columns, used, b);
      double step = 1;
      for (std::size_t i = 0; i < used.size(); ++i)
        if (wanted[i] <= 0 && x[used[i]] > wanted[i])
          step = std::min(step, x[used[i]] / (x[used[i]] - wanted[i]));
      bool all_positive = true;
      for (std::size_t i = 0; i < used.size(); ++i) {
        double& value = x[used[i]];
        value += step * (wanted[i] - value);
        if (wanted[i] > 0 || value > 1e-14 * std::abs(wanted[i])) continue;
        value = 0;
        is_used[used[i]] = false;
        all_positive = false;
      }
      if (all_positive) break;
    }
  }
  return x;
}

TimeLaw fit_time_law(const std::vector<TimedExtents>& times) {
  ELASTIC_REQUIRE(!times.empty(), "a law of {} times", times.size());
  std::vector<std::vector<double>> columns(num_time_terms), basis;
  TimeTerms largest{};
  for (const auto& time : times) {
    ELASTIC_REQUIRE(time.seconds > 0, "a time of {} s", time.seconds);
    const auto terms = time_terms(time.extents);
    for (std::size_t j = 0; j < num_time_terms; ++j) {
      columns[j].push_back(terms[j] / time.seconds);  // differences count relative to the time
      largest[j] = std::max(largest[j], columns[j].back());
    }
  }
  std::vector<std::size_t> used;
  for (std::size_t j = 0; j < num_time_terms; ++j)
    if (largest[j] > 0 && is_independent(columns[j], basis)) used.push_back(j);
  std::vector<std::vector<double>> rows(times.size());
  for (std::size_t i = 0; i < times.size(); ++i)
    for (const auto j : used) rows[i].push_back(columns[j][i] / largest[j]);
  const auto x = nonnegative_least_squares(rows, std::vector<double>(times.size(), 1.0));
  TimeLaw law;
  for (std::size_t i = 0; i < used.size(); ++i) law.factors[used[i]] = x[i] / largest[used[i]];
  for (const auto& time : times)
    law.worst_error =
        std::max(law.worst_error, std::abs(law.seconds(time.extents) / time.seconds - 1));
  return law;
}

}  // namespace elastic
