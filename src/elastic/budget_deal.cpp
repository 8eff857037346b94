// SPDX-License-Identifier: Apache-2.0
#include "elastic/budget_deal.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.hpp"

namespace elastic {
namespace {
/// Remainders that differ by less are equal: they differ by rounding.
constexpr double least_difference = 1e-6;
constexpr std::uint64_t first_draw = std::uint64_t{1} << 32;  // apart from the numbers of samples

/// Which budgets each place of the order trains, rising.
std::vector<std::vector<std::size_t>> budgets_of_places(const std::vector<index_t>& counts,
                                                        index_t places) {
  std::vector<std::vector<std::size_t>> budgets(static_cast<std::size_t>(places));
  index_t slot = 0;
  for (std::size_t b = 0; b < counts.size(); ++b)
    for (index_t i = 0; i < counts[b]; ++i)
      budgets[static_cast<std::size_t>(slot++ % places)].push_back(b);
  return budgets;
}
}  // namespace

std::vector<double> budget_shares(const std::vector<double>& probabilities,
                                  index_t budgets_per_sample) {
  index_t positive = 0;
  for (const double p : probabilities) {
    ELASTIC_REQUIRE(p >= 0, "budget probability {}", p);
    positive += p > 0 ? 1 : 0;
  }
  ELASTIC_REQUIRE(budgets_per_sample >= 1 && budgets_per_sample <= positive,
                  "{} budgets per sample, {} with a probability", budgets_per_sample, positive);
  std::vector<double> shares(probabilities.size(), 0.0);
  // Those that would be trained more than once on a sample get all samples; the rest is shared out.
  for (bool again = true; again;) {
    double rest = static_cast<double>(budgets_per_sample), sum = 0;
    for (std::size_t b = 0; b < shares.size(); ++b)
      (shares[b] == 1 ? rest : sum) += shares[b] == 1 ? -1 : probabilities[b];
    again = false;
    for (std::size_t b = 0; b < shares.size(); ++b) {
      if (shares[b] == 1) continue;
      shares[b] = sum > 0 ? rest * probabilities[b] / sum : 0;
      if (shares[b] < 1 - least_difference) continue;
      again = again || shares[b] > 1 + least_difference;
      shares[b] = 1;
    }
  }
  return shares;
}

std::vector<DrawGroup> cut_groups(const std::vector<DrawGroup>& groups, index_t size) {
  std::vector<DrawGroup> parts;
  for (const auto& group : groups) {
    const auto count = static_cast<index_t>(group.samples.size());
    for (index_t begin = 0; begin < count; begin += size)
      parts.push_back(
          {group.number,
           {group.samples.begin() + begin, group.samples.begin() + std::min(count, begin + size)},
           group.budgets});
  }
  return parts;
}

BudgetDeal::BudgetDeal(const BudgetDealConfig& config)
    : m_config(config),
      m_shares(budget_shares(config.probabilities, config.budgets_per_sample)),
      m_counts(m_shares.size(), 0),
      m_taken(m_shares.size(), 0) {
  ELASTIC_REQUIRE(config.samples > 0 && config.samples_per_draw > 0, "{} samples, {} to a draw",
                  config.samples, config.samples_per_draw);
}

void BudgetDeal::advance() {
  ++m_step;
  const index_t samples = m_config.samples;
  index_t rest = samples * m_config.budgets_per_sample;
  std::vector<double> due;
  for (std::size_t b = 0; b < m_shares.size(); ++b) {
    due.push_back(static_cast<double>(m_step) * static_cast<double>(samples) * m_shares[b] -
                  static_cast<double>(m_taken[b]));
    m_counts[b] = std::clamp<index_t>(static_cast<index_t>(std::floor(due[b] + least_difference)),
                                      0, samples);
    rest -= m_counts[b];
  }
  // The budget that lacks most gets one more; if there are too many, the one that lacks least has
  // one less.
  for (; rest != 0; rest += rest > 0 ? -1 : 1) {
    const double sign = rest > 0 ? 1 : -1;
    std::size_t best = m_shares.size();
    double most = 0;
    for (std::size_t b = 0; b < m_shares.size(); ++b) {
      if (m_shares[b] == 0 || m_counts[b] == (rest > 0 ? samples : 0)) continue;
      const double lacks = sign * (due[b] - static_cast<double>(m_counts[b]));
      if (best < m_shares.size() && lacks < most + least_difference) continue;
      best = b;
      most = lacks;
    }
    m_counts[best] += rest > 0 ? 1 : -1;
  }
  for (std::size_t b = 0; b < m_shares.size(); ++b) m_taken[b] += m_counts[b];
}

std::vector<index_t> BudgetDeal::counts(index_t step) {
  ELASTIC_REQUIRE(step >= 1, "step {} of a stage", step);
  if (step < m_step) {
    m_step = 0;
    std::fill(m_taken.begin(), m_taken.end(), index_t{0});
  }
  while (m_step < step) advance();
  return m_counts;
}

RandomKey BudgetDeal::step_key(index_t step) const {
  return random_subkey({m_config.seed, RandomPurpose::budget, m_config.stage},
                       static_cast<std::uint64_t>(step));
}

std::uint64_t BudgetDeal::stream(index_t step, index_t group, std::size_t budget) const {
  const auto draw = static_cast<std::uint64_t>(group) * m_shares.size() + budget;
  return random_subkey(step_key(step), first_draw + draw).stream;
}

/// The samples 0 ... B-1 in a random order.
std::vector<index_t> BudgetDeal::shuffled(index_t step) const {
  const RandomKey key = step_key(step);
  std::vector<std::pair<double, index_t>> order;
  for (index_t i = 0; i < m_config.samples; ++i)
    order.emplace_back(random_uniform(key, static_cast<std::uint64_t>(i)), i);
  std::sort(order.begin(), order.end());
  std::vector<index_t> samples;
  for (const auto& [place, i] : order) samples.push_back(i);
  return samples;
}

std::vector<DrawGroup> BudgetDeal::groups(index_t step) {
  const auto budgets = budgets_of_places(counts(step), m_config.samples);
  const auto samples = shuffled(step);
  std::vector<DrawGroup> groups;
  for (std::size_t p = 0; p < samples.size(); ++p) {
    const bool starts =
        groups.empty() || groups.back().budgets != budgets[p] ||
        static_cast<index_t>(groups.back().samples.size()) == m_config.samples_per_draw;
    if (starts) groups.push_back({static_cast<index_t>(groups.size()), {}, budgets[p]});
    groups.back().samples.push_back(samples[p]);
  }
  for (auto& group : groups) std::sort(group.samples.begin(), group.samples.end());
  return groups;
}

}  // namespace elastic
