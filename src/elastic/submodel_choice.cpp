// SPDX-License-Identifier: Apache-2.0
#include "elastic/submodel_choice.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "elastic/cost_tree.hpp"
#include "elastic/width_sums.hpp"

namespace elastic {
namespace {

using Choice = std::vector<index_t>;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double rounding = 1e-12;  // of costs, relative

std::vector<double> log_softmax(const std::vector<double>& logits, double scale) {
  std::vector<double> result;
  for (const double z : logits) result.push_back(scale * z);
  const double largest = *std::max_element(result.begin(), result.end());
  double sum = 0;
  for (const double z : result) sum += std::exp(z - largest);
  for (double& z : result) z -= largest + std::log(sum);
  return result;
}

/// Equal layers whose widths follow the same decisions: for each of the two axes its own, the one
/// that all share, or none. The layers that depth drops first stand last, so that every choice of
/// depth keeps the first ones.
struct LayerGroup {
  std::vector<index_t> layers;
  std::vector<index_t> own_width, own_channels;           // decisions by layer; empty: not its own
  index_t shared_width = -1, shared_channels = -1;        // decisions; -1: none
  std::map<std::pair<index_t, index_t>, WidthSums> sums;  // by choices of the shared decisions
};

/// One list of sums as costs, and how to read them.
struct GroupCosts {
  LayerGroup* group;
  const WidthSums* sums;
  std::size_t kept;               // layers
  std::vector<CostPoint> points;  // likeliest first
};

class Search {
 public:
  Search(const ModelShape& parent, const ElasticSpace& space, const Probabilities& logits,
         double budget, const ChoiceRules& rules, const NestingBounds& bounds)
      : m_parent(parent),
        m_space(space),
        m_rules(rules),
        m_budget(budget),
        m_decisions(list_decisions(parent, space)) {
    ELASTIC_REQUIRE(budget > 0 && rules.tolerance >= 0, "budget {} within {}", budget,
                    rules.tolerance);
    ELASTIC_REQUIRE(logits.size() == m_decisions.size(), "{} lists for {} decisions", logits.size(),
                    m_decisions.size());
    ELASTIC_REQUIRE(!rules.costs.empty() && rules.costs.size() <= max_costs, "{} costs",
                    rules.costs.size());
    for (std::size_t d = 0; d < logits.size(); ++d) {
      ELASTIC_REQUIRE(logits[d].size() == m_decisions[d].widths.size(), "{} logits for {} choices",
                      logits[d].size(), m_decisions[d].widths.size());
      m_log_pi.push_back(log_softmax(logits[d], rules.logit_scale));
      m_allowed.push_back(allowed_choices(parent, space, m_decisions[d], bounds));
    }
    for (std::size_t k = 0; k < rules.costs.size(); ++k) {
      m_full[k] = cost(parent, full_spec(parent), rules.costs[k]);
      m_box.low[k] = budget * m_full[k] * (1 - rules.tolerance - rounding);
      m_box.high[k] = budget * m_full[k] * (1 + rules.tolerance + rounding);
    }
    group_layers();
    list_shared();
  }

  /// Null: nothing meets the budget within the bounds.
  std::optional<SubmodelSpec> run() {
    if (m_budget == 1)
      m_found = full_spec(m_parent);
    else
      search_likeliest();
    if (!m_found) return m_found;
    ELASTIC_REQUIRE(m_budget == 1 || meets_budget(m_parent, *m_found, m_budget, m_rules),
                    "the submodel chosen for budget {} misses it", m_budget);
    m_found->name = fmt::format("{}", m_budget);
    m_found->budget = m_budget;
    return m_found;
  }

  void search_likeliest() {
    for (const std::size_t s : m_shared_order) {
      if (m_shared_log_pi[s] + m_best_of_layers <= m_best) break;
      search(
          m_shared[s], m_box, true,
          [&](const CostVector& fixed, double log_pi, const CostTree& tree) {
            return tree.likeliest(shifted(m_box, fixed), m_best - log_pi);
          },
          [&](const CostVector&, double log_pi) { return log_pi; });
    }
  }

  /// The submodel nearest to the budget, by its largest relative difference of a cost, among those
  /// whose first cost is not above (`side` < 0) or not below (`side` > 0) the budget.
  std::optional<SubmodelSpec> nearest(int side) {
    m_found.reset();
    m_best = -infinity;
    CostBox box;
    if (side < 0) box.high[0] = m_budget * m_full[0];
    if (side > 0) box.low[0] = m_budget * m_full[0];
    CostVector target{}, unit = CostBox::filled(1);
    for (std::size_t k = 0; k < m_rules.costs.size(); ++k) {
      target[k] = m_budget * m_full[k];
      unit[k] = m_full[k];
    }
    const auto difference = [&](const CostVector& costs) {
      double largest = 0;
      for (std::size_t k = 0; k < max_costs; ++k)
        largest = std::max(largest, std::abs(costs[k] - target[k]) / unit[k]);
      return largest;
    };
    for (const auto& shared : m_shared)
      search(
          shared, box, false,
          [&](const CostVector& fixed, double, const CostTree& tree) {
            CostVector rest;
            for (std::size_t k = 0; k < max_costs; ++k) rest[k] = target[k] - fixed[k];
            return tree.nearest(shifted(box, fixed), rest, unit, -m_best);
          },
          [&](const CostVector& costs, double) { return -difference(costs); });
    return m_found;
  }

 private:
  bool all_shared(const Decision& decision) const { return decision.layer < 0; }

  void group_layers() {
    std::vector<index_t> width(m_parent.layers.size(), -1), channels = width;
    for (std::size_t d = 0; d < m_decisions.size(); ++d) {
      const auto& decision = m_decisions[d];
      if (decision.axis == Axis::depth) m_depth = static_cast<index_t>(d);
      if (decision.axis == Axis::hidden) m_hidden = static_cast<index_t>(d);
      for (const index_t l : decision_layers(m_parent, decision))
        (chooses_channels(decision.axis) ? channels : width)[l] = static_cast<index_t>(d);
    }
    m_drop_place.assign(m_parent.layers.size(), m_parent.num_layers());
    for (std::size_t r = 0; r < m_space.drop_order.size(); ++r)
      m_drop_place[m_space.drop_order[r]] = static_cast<index_t>(r);
    std::vector<index_t> order(m_parent.layers.size());
    std::iota(order.begin(), order.end(), index_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](index_t a, index_t b) { return m_drop_place[a] > m_drop_place[b]; });
    for (const index_t l : order) {
      const auto own = [&](index_t d) { return d >= 0 && m_decisions[d].layer >= 0; };
      LayerGroup& group =
          group_of(l, own(width[l]), own(channels[l]), own(width[l]) ? -1 : width[l],
                   own(channels[l]) ? -1 : channels[l]);
      group.layers.push_back(l);
      if (own(width[l])) group.own_width.push_back(width[l]);
      if (own(channels[l])) group.own_channels.push_back(channels[l]);
    }
  }

  LayerGroup& group_of(index_t l, bool own_width, bool own_channels, index_t shared_width,
                       index_t shared_channels) {
    const auto& shape = m_parent.layers[l];
    for (auto& group : m_groups) {
      const auto& first = m_parent.layers[group.layers[0]];
      if (first.kind == shape.kind && first.width == shape.width &&
          first.head_channels == shape.head_channels && first.num_groups == shape.num_groups &&
          group.own_width.empty() != own_width && group.own_channels.empty() != own_channels)
        return group;
    }
    auto& group = m_groups.emplace_back();
    group.shared_width = shared_width;
    group.shared_channels = shared_channels;
    return group;
  }

  /// All combinations of allowed choices of the shared decisions, and their log-probabilities.
  void list_shared() {
    std::vector<std::size_t> shared;
    for (std::size_t d = 0; d < m_decisions.size(); ++d) {
      double best = -infinity;
      for (std::size_t i = 0; i < m_log_pi[d].size(); ++i)
        if (m_allowed[d][i]) best = std::max(best, m_log_pi[d][i]);
      if (best == -infinity) return;  // the bounds leave nothing
      if (all_shared(m_decisions[d]))
        shared.push_back(d);
      else
        m_best_of_layers += best;
    }
    Choice choice(m_decisions.size(), 0);
    const auto descend = [&](const auto& self, std::size_t n, double log_pi) -> void {
      if (n == shared.size()) {
        m_shared.push_back(choice);
        m_shared_log_pi.push_back(log_pi);
        return;
      }
      const std::size_t d = shared[n];
      for (std::size_t i = 0; i < m_log_pi[d].size(); ++i) {
        if (!m_allowed[d][i]) continue;
        choice[d] = static_cast<index_t>(i);
        self(self, n + 1, log_pi + m_log_pi[d][i]);
      }
    };
    descend(descend, 0, 0);
    m_shared_order.resize(m_shared.size());
    std::iota(m_shared_order.begin(), m_shared_order.end(), std::size_t{0});
    std::stable_sort(
        m_shared_order.begin(), m_shared_order.end(),
        [&](std::size_t a, std::size_t b) { return m_shared_log_pi[a] > m_shared_log_pi[b]; });
  }

  /// The choices of one layer of a group, under those of the shared decisions.
  std::vector<WidthItem> items(const LayerGroup& group, std::size_t n, index_t width_choice,
                               index_t channel_choice) const {
    const auto& shape = m_parent.layers[group.layers[n]];
    struct Part {
      index_t width, choice;
      double log_pi;
    };
    const auto parts = [&](const std::vector<index_t>& own, index_t shared, index_t choice,
                           index_t full) {
      std::vector<Part> result;
      if (own.empty()) {
        result.push_back({shared >= 0 ? m_decisions[shared].widths[choice] : full, choice, 0});
        return result;
      }
      const index_t d = own[n];
      for (std::size_t i = 0; i < m_log_pi[d].size(); ++i)
        if (m_allowed[d][i])
          result.push_back({m_decisions[d].widths[i], static_cast<index_t>(i), m_log_pi[d][i]});
      return result;
    };
    std::vector<WidthItem> all;
    for (const auto& w : parts(group.own_width, group.shared_width, width_choice, shape.width))
      for (const auto& c :
           parts(group.own_channels, group.shared_channels, channel_choice, shape.head_channels))
        all.push_back({w.width, c.width, w.log_pi + c.log_pi, w.choice, c.choice});
    return all;
  }

  const WidthSums& sums_of(LayerGroup& group, const Choice& shared) {
    const index_t w = group.shared_width >= 0 ? shared[group.shared_width] : 0,
                  c = group.shared_channels >= 0 ? shared[group.shared_channels] : 0;
    const auto found = group.sums.find({w, c});
    if (found != group.sums.end()) return found->second;
    std::vector<std::vector<WidthItem>> all;
    for (std::size_t n = 0; n < group.layers.size(); ++n) all.push_back(items(group, n, w, c));
    return group.sums.emplace(std::pair(w, c), WidthSums(std::move(all))).first->second;
  }

  /// Costs of all sums of a group's kept layers. Each cost of a layer is affine in its width, its
  /// channels and their product: four values give it.
  GroupCosts costs_of(LayerGroup& group, const Choice& shared, index_t dropped, double hidden) {
    GroupCosts result{&group, &sums_of(group, shared), 0, {}};
    while (result.kept < group.layers.size() && m_drop_place[group.layers[result.kept]] >= dropped)
      ++result.kept;
    std::array<std::array<double, 4>, max_costs> law{};  // constant, width, product, channels
    for (std::size_t k = 0; k < m_rules.costs.size(); ++k) {
      const auto at = [&](double w, double c) {
        return layer_cost(m_parent, group.layers[0], hidden, {w, c, 1}, m_rules.costs[k]);
      };
      const double none = at(0, 0), width = at(1, 0) - none, channels = at(0, 1) - none;
      law[k] = {none, width, at(1, 1) - none - width - channels, channels};
    }
    const auto& sums = result.sums->of_first(result.kept);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      CostPoint point{{}, sums[i].log_pi, i};
      for (std::size_t k = 0; k < m_rules.costs.size(); ++k) {
        point.costs[k] = static_cast<double>(result.kept) * law[k][0];
        for (std::size_t c = 0; c < 3; ++c)
          point.costs[k] += static_cast<double>(sums[i].sum[c]) * law[k][c + 1];
      }
      result.points.push_back(point);
    }
    std::stable_sort(result.points.begin(), result.points.end(),
                     [](const CostPoint& a, const CostPoint& b) { return a.log_pi > b.log_pi; });
    return result;
  }

  static CostBox shifted(CostBox box, const CostVector& by) {
    for (std::size_t k = 0; k < max_costs; ++k) {
      box.low[k] -= by[k];
      box.high[k] -= by[k];
    }
    return box;
  }

  /// Asks `query` for a point of the largest list for every combination of sums of the others, and
  /// keeps the choice whose `score` is the highest.
  template <class Query, class Score>
  void search(const Choice& shared, const CostBox& box, bool likely_only, const Query& query,
              const Score& score) {
    const index_t dropped = m_depth >= 0 ? m_decisions[m_depth].widths[shared[m_depth]] : 0;
    const double hidden = static_cast<double>(
        m_hidden >= 0 ? m_decisions[m_hidden].widths[shared[m_hidden]] : m_parent.hidden_size);
    std::vector<GroupCosts> lists;
    for (auto& group : m_groups) lists.push_back(costs_of(group, shared, dropped, hidden));
    std::stable_sort(lists.begin(), lists.end(), [](const auto& a, const auto& b) {
      return a.points.size() < b.points.size();
    });
    const CostTree tree(lists.back().points);
    CostVector fixed{};
    for (std::size_t k = 0; k < m_rules.costs.size(); ++k)
      fixed[k] = ends_cost(m_parent, hidden, m_rules.costs[k]);
    const auto rest = suffixes(lists);
    std::vector<std::size_t> labels(lists.size(), 0);
    const auto descend = [&](const auto& self, std::size_t n, CostVector costs,
                             double log_pi) -> void {
      if (n + 1 == lists.size()) {
        const CostPoint* point = query(costs, log_pi, tree);
        if (!point) return;
        for (std::size_t k = 0; k < max_costs; ++k) costs[k] += point->costs[k];
        labels[n] = point->label;
        m_best = score(costs, log_pi + point->log_pi);
        m_found = spec_of(shared, lists, labels);
        return;
      }
      for (const auto& point : lists[n].points) {
        if (likely_only && log_pi + point.log_pi + rest[n + 1].log_pi <= m_best) break;
        CostVector sum = costs;
        for (std::size_t k = 0; k < max_costs; ++k) sum[k] += point.costs[k];
        if (!rest[n + 1].box.meets(shifted(box, sum))) continue;
        labels[n] = point.label;
        self(self, n + 1, sum, log_pi + point.log_pi);
      }
    };
    double log_pi = 0;
    for (std::size_t d = 0; d < m_decisions.size(); ++d)
      if (all_shared(m_decisions[d])) log_pi += m_log_pi[d][shared[d]];
    for (const auto& list : lists) log_pi += best_of_dropped(list);
    descend(descend, 0, fixed, log_pi);
  }

  /// What lists n, n + 1, ... can add together: costs, and at most which log-probability.
  struct Suffix {
    CostBox box{{}, {}};
    double log_pi = 0;
  };
  static std::vector<Suffix> suffixes(const std::vector<GroupCosts>& lists) {
    std::vector<Suffix> result(lists.size() + 1);
    for (std::size_t n = lists.size(); n-- > 0;) {
      const auto& points = lists[n].points;
      CostBox own{points[0].costs, points[0].costs};
      for (const auto& point : points)
        for (std::size_t k = 0; k < max_costs; ++k) {
          own.low[k] = std::min(own.low[k], point.costs[k]);
          own.high[k] = std::max(own.high[k], point.costs[k]);
        }
      for (std::size_t k = 0; k < max_costs; ++k) {
        result[n].box.low[k] = result[n + 1].box.low[k] + own.low[k];
        result[n].box.high[k] = result[n + 1].box.high[k] + own.high[k];
      }
      result[n].log_pi = result[n + 1].log_pi + points[0].log_pi;  // likeliest first
    }
    return result;
  }

  /// Layers that are dropped take their likeliest choice; it costs nothing.
  double best_of_dropped(const GroupCosts& list) const {
    double sum = 0;
    for (std::size_t n = list.kept; n < list.group->layers.size(); ++n)
      sum += likeliest(list.sums->items()[n])->log_pi;
    return sum;
  }
  static std::vector<WidthItem>::const_iterator likeliest(const std::vector<WidthItem>& items) {
    return std::max_element(items.begin(), items.end(),
                            [](const auto& a, const auto& b) { return a.log_pi < b.log_pi; });
  }

  SubmodelSpec spec_of(Choice choice, const std::vector<GroupCosts>& lists,
                       const std::vector<std::size_t>& labels) const {
    for (std::size_t g = 0; g < lists.size(); ++g) {
      const auto& [group, sums, kept, points] = lists[g];
      const auto chosen = sums->choices(kept, labels[g]);
      for (std::size_t n = 0; n < group->layers.size(); ++n) {
        const auto& of_layer = sums->items()[n];
        const WidthItem& item = n < kept ? of_layer[chosen[n]] : *likeliest(of_layer);
        if (!group->own_width.empty()) choice[group->own_width[n]] = item.width_choice;
        if (!group->own_channels.empty()) choice[group->own_channels[n]] = item.channel_choice;
      }
    }
    return spec_of_choices(m_parent, m_space, m_decisions, choice);
  }

  const ModelShape& m_parent;
  const ElasticSpace& m_space;
  const ChoiceRules& m_rules;
  double m_budget;
  std::vector<Decision> m_decisions;
  std::vector<std::vector<bool>> m_allowed;  // within the bounds, by decision
  Probabilities m_log_pi;
  CostVector m_full{};
  CostBox m_box{{}, {}};  // that meets the budget
  index_t m_hidden = -1, m_depth = -1;
  std::vector<index_t> m_drop_place;  // by layer
  std::vector<LayerGroup> m_groups;
  std::vector<Choice> m_shared;
  std::vector<double> m_shared_log_pi;
  std::vector<std::size_t> m_shared_order;  // likeliest first
  double m_best_of_layers = 0;              // log-probability
  double m_best = -infinity;
  std::optional<SubmodelSpec> m_found;
};

/// "parameters 0.5214", or with several costs "parameters 0.5214, memory 0.6012".
std::string costs_text(const ModelShape& parent, const SubmodelSpec& spec, const Costs& costs) {
  std::string text;
  for (const auto& c : costs)
    text += fmt::format("{}{}{:.4f}", text.empty() ? "" : ", ",
                        costs.size() > 1 ? fmt::format("{} ", budget_kind_name(c.kind)) : "",
                        relative_cost(parent, spec, c));
  return text;
}

[[noreturn]] void fail(Search& search, const ModelShape& parent, double budget,
                       const ChoiceRules& rules) {
  std::string nearest;
  for (const int side : {-1, 1})
    if (const auto spec = search.nearest(side))
      nearest += fmt::format("{}{}", nearest.empty() ? " " : " and ",
                             costs_text(parent, *spec, rules.costs));
  throw InputError(
      fmt::format("no choice of the elastic widths costs {} of the parent within {}%; the "
                  "nearest reachable budgets are{}",
                  budget, 100 * rules.tolerance, nearest));
}

}  // namespace

bool meets_budget(const ModelShape& parent, const SubmodelSpec& spec, double budget,
                  const ChoiceRules& rules) {
  return std::all_of(rules.costs.begin(), rules.costs.end(), [&](const CostConfig& c) {
    return std::abs(relative_cost(parent, spec, c) / budget - 1) <= rules.tolerance + 2 * rounding;
  });
}

std::optional<SubmodelSpec> try_submodel(const ModelShape& parent, const ElasticSpace& space,
                                         const Probabilities& logits, double budget,
                                         const ChoiceRules& rules, const NestingBounds& bounds) {
  return Search(parent, space, logits, budget, rules, bounds).run();
}

SubmodelSpec choose_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const Probabilities& logits, double budget, const ChoiceRules& rules) {
  Search search(parent, space, logits, budget, rules, {});
  const auto spec = search.run();
  if (!spec) fail(search, parent, budget, rules);
  return *spec;
}

}  // namespace elastic
