// SPDX-License-Identifier: Apache-2.0
#include "elastic/submodel_choice.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace elastic {
namespace {

using Choice = std::vector<index_t>;

/// A changed decision.
struct Move {
  std::size_t decision;
  index_t to;
};

std::vector<double> log_softmax(const std::vector<double>& logits, double scale) {
  std::vector<double> result;
  for (const double z : logits) result.push_back(scale * z);
  const double largest = *std::max_element(result.begin(), result.end());
  double sum = 0;
  for (const double z : result) sum += std::exp(z - largest);
  for (double& z : result) z -= largest + std::log(sum);
  return result;
}

class Search {
 public:
  Search(const ModelShape& parent, const ElasticSpace& space, const Probabilities& logits,
         double logit_scale, double budget, double tolerance, const CostConfig& config)
      : m_parent(parent),
        m_space(space),
        m_decisions(list_decisions(parent, space)),
        m_budget(budget),
        m_tolerance(tolerance),
        m_config(config) {
    ELASTIC_REQUIRE(logits.size() == m_decisions.size(), "{} lists for {} decisions", logits.size(),
                    m_decisions.size());
    for (std::size_t d = 0; d < logits.size(); ++d) {
      ELASTIC_REQUIRE(logits[d].size() == m_decisions[d].widths.size(), "{} logits for {} choices",
                      logits[d].size(), m_decisions[d].widths.size());
      m_log_pi.push_back(log_softmax(logits[d], logit_scale));
      m_layers.push_back(decision_layers(parent, m_decisions[d]));
    }
    m_full = expected_widths(full_spec(parent));
    m_full_cost = cost(parent, m_full, config);
  }

  SubmodelSpec run(index_t exhaustive_limit) {
    const Choice likely = argmax();
    if (violation(likely) == 0)
      keep_if_better(likely);
    else if (num_combinations() <= static_cast<double>(exhaustive_limit))
      try_all();
    else
      search_locally(likely);
    if (!m_found) fail();
    SubmodelSpec spec = spec_of_choices(m_parent, m_space, m_decisions, m_best);
    spec.name = fmt::format("{}", m_budget);
    spec.budget = m_budget;
    return spec;
  }

 private:
  Choice argmax() const {
    Choice choice;
    for (const auto& list : m_log_pi)
      choice.push_back(std::max_element(list.begin(), list.end()) - list.begin());
    return choice;
  }
  double num_combinations() const {
    double count = 1;
    for (const auto& d : m_decisions) count *= static_cast<double>(d.widths.size());
    return count;
  }
  double log_probability(const Choice& choice) const {
    double sum = 0;
    for (std::size_t d = 0; d < choice.size(); ++d) sum += m_log_pi[d][choice[d]];
    return sum;
  }

  ExpectedWidths widths(const Choice& choice) const {
    ExpectedWidths result = m_full;
    for (std::size_t d = 0; d < choice.size(); ++d) {
      const index_t width = m_decisions[d].widths[choice[d]];
      const Axis axis = m_decisions[d].axis;
      if (axis == Axis::hidden) result.hidden = static_cast<double>(width);
      if (axis == Axis::depth)
        for (index_t r = 0; r < width; ++r) result.layers[m_space.drop_order[r]].keep = 0;
      for (const index_t l : m_layers[d])
        (chooses_channels(axis) ? result.layers[l].head_channels : result.layers[l].width) =
            static_cast<double>(width);
    }
    return result;
  }

  /// By how much the relative cost lies outside the tolerance; remembers the nearest costs seen.
  double violation(const Choice& choice) {
    const double reached = cost(m_parent, widths(choice), m_config) / m_full_cost;
    if (reached <= m_budget) m_below = std::max(m_below, reached);
    if (reached >= m_budget) m_above = std::min(m_above, reached);
    return std::max(0.0, std::abs(reached / m_budget - 1) - m_tolerance);
  }

  void keep_if_better(const Choice& choice) {
    if (!m_found || log_probability(choice) > log_probability(m_best)) m_best = choice;
    m_found = true;
  }

  void try_all() {
    Choice choice(m_decisions.size(), 0);
    for (std::size_t d = 0; d < choice.size();) {
      if (violation(choice) == 0) keep_if_better(choice);
      for (d = 0; d < choice.size();
           choice[d++] = 0)  // counts up; leaves with d = size after the last
        if (++choice[d] < static_cast<index_t>(m_decisions[d].widths.size())) break;
    }
  }

  /// Searches from the most likely choice, and from it with one shared decision changed.
  void search_locally(const Choice& likely) {
    std::vector<Choice> starts = {likely};
    for (const Move& move : all_moves(likely))
      if (m_decisions[move.decision].layer < 0) starts.push_back(moved(likely, {move}));
    for (Choice choice : starts) {
      while (violation(choice) > 0)
        if (!repair(choice)) break;
      if (violation(choice) > 0) continue;
      while (improve(choice)) {
      }
      keep_if_better(choice);
    }
  }

  std::vector<Move> all_moves(const Choice& choice) const {
    std::vector<Move> moves;
    for (std::size_t d = 0; d < choice.size(); ++d)
      for (index_t i = 0; i < static_cast<index_t>(m_decisions[d].widths.size()); ++i)
        if (i != choice[d]) moves.push_back({d, i});
    return moves;
  }
  static Choice moved(Choice choice, std::initializer_list<Move> moves) {
    for (const Move& m : moves) choice[m.decision] = m.to;
    return choice;
  }
  double gain(const Choice& choice, const Move& m) const {
    return m_log_pi[m.decision][m.to] - m_log_pi[m.decision][choice[m.decision]];
  }

  /// Makes the change of one decision, else of two, that loses the least log-probability
  /// per unit of violation removed.
  bool repair(Choice& choice) {
    const double now = violation(choice);
    double best_rate = std::numeric_limits<double>::infinity();
    Choice best;
    const auto consider = [&](const Choice& candidate, double lost) {
      const double removed = now - violation(candidate);
      if (removed <= 0 || lost / removed >= best_rate) return;
      best_rate = lost / removed;
      best = candidate;
    };
    const auto moves = all_moves(choice);
    for (const Move& m : moves) consider(moved(choice, {m}), -gain(choice, m));
    if (best.empty())
      for (const Move& a : moves)
        for (const Move& b : moves)
          if (a.decision < b.decision)
            consider(moved(choice, {a, b}), -gain(choice, a) - gain(choice, b));
    if (best.empty()) return false;
    choice = best;
    return true;
  }

  /// Moves to the most probable feasible choice among all changes of one or two decisions.
  bool improve(Choice& choice) {
    double best_gain = 1e-12;  // rounding must not make it cycle
    Choice best;
    const auto consider = [&](double gained, std::initializer_list<Move> changes) {
      if (gained <= best_gain) return;
      const Choice candidate = moved(choice, changes);
      if (violation(candidate) > 0) return;
      best_gain = gained;
      best = candidate;
    };
    const auto moves = all_moves(choice);
    for (const Move& a : moves) {
      consider(gain(choice, a), {a});
      for (const Move& b : moves)
        if (a.decision < b.decision) consider(gain(choice, a) + gain(choice, b), {a, b});
    }
    if (best.empty()) return false;
    choice = best;
    return true;
  }

  [[noreturn]] void fail() const {
    std::string nearest;
    if (m_below > 0) nearest += fmt::format(" {:.4f}", m_below);
    if (std::isfinite(m_above))
      nearest += fmt::format("{}{:.4f}", nearest.empty() ? " " : " and ", m_above);
    throw InputError(
        fmt::format("no choice of the elastic widths costs {} of the parent within {}%; the "
                    "nearest reachable budgets are{}",
                    m_budget, 100 * m_tolerance, nearest));
  }

  const ModelShape& m_parent;
  const ElasticSpace& m_space;
  std::vector<Decision> m_decisions;
  std::vector<std::vector<index_t>> m_layers;  // of each decision
  double m_budget, m_tolerance;
  CostConfig m_config;
  Probabilities m_log_pi;
  ExpectedWidths m_full;
  double m_full_cost = 0;
  double m_below = 0, m_above = std::numeric_limits<double>::infinity();
  Choice m_best;
  bool m_found = false;
};

}  // namespace

SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const Probabilities& logits, double logit_scale, double budget,
                             double tolerance, const CostConfig& config, index_t exhaustive_limit) {
  ELASTIC_REQUIRE(budget > 0 && tolerance >= 0, "budget {} within {}", budget, tolerance);
  return Search(parent, space, logits, logit_scale, budget, tolerance, config)
      .run(exhaustive_limit);
}

}  // namespace elastic
