// SPDX-License-Identifier: Apache-2.0
#include "elastic/cost_tree.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace elastic {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The largest difference between `target` and the nearest point of a box, in units.
double distance(const CostBox& box, const CostVector& target, const CostVector& unit) {
  double largest = 0;
  for (std::size_t k = 0; k < max_costs; ++k) {
    const double outside = std::max({0.0, box.low[k] - target[k], target[k] - box.high[k]});
    largest = std::max(largest, outside / unit[k]);
  }
  return largest;
}

}  // namespace

bool CostBox::contains(const CostVector& costs) const {
  for (std::size_t k = 0; k < max_costs; ++k)
    if (costs[k] < low[k] || costs[k] > high[k]) return false;
  return true;
}
bool CostBox::meets(const CostBox& other) const {
  for (std::size_t k = 0; k < max_costs; ++k)
    if (other.high[k] < low[k] || other.low[k] > high[k]) return false;
  return true;
}

CostTree::CostTree(std::vector<CostPoint> points) : m_points(std::move(points)) {
  ELASTIC_REQUIRE(!m_points.empty(), "a tree of {} points", m_points.size());
  std::sort(m_points.begin(), m_points.end(), [](const CostPoint& a, const CostPoint& b) {
    return a.costs != b.costs ? a.costs < b.costs : a.label < b.label;
  });
  while (m_leaves < m_points.size()) m_leaves *= 2;
  Node nothing;  // its box is empty
  std::swap(nothing.box.low, nothing.box.high);
  m_nodes.assign(2 * m_leaves, nothing);
  for (std::size_t i = 0; i < m_points.size(); ++i)
    m_nodes[m_leaves + i] = {{m_points[i].costs, m_points[i].costs}, m_points[i].log_pi};
  for (std::size_t n = m_leaves - 1; n > 0; --n) {
    const auto &a = m_nodes[2 * n], &b = m_nodes[2 * n + 1];
    auto& node = m_nodes[n];
    node.log_pi = std::max(a.log_pi, b.log_pi);
    for (std::size_t k = 0; k < max_costs; ++k) {
      node.box.low[k] = std::min(a.box.low[k], b.box.low[k]);
      node.box.high[k] = std::max(a.box.high[k], b.box.high[k]);
    }
  }
}

/// Descends into boxes whose bound is above the best score so far, the better child first.
template <class Bound, class Score>
void CostTree::search(std::size_t node, const CostBox& box, const Bound& bound, const Score& score,
                      double& best, const CostPoint*& found) const {
  if (!m_nodes[node].box.meets(box) || !(bound(m_nodes[node]) > best)) return;
  if (node >= m_leaves) {
    const auto& point = m_points[node - m_leaves];
    if (!box.contains(point.costs) || !(score(point) > best)) return;
    best = score(point);
    found = &point;
    return;
  }
  const std::size_t a = 2 * node, b = a + 1;
  const bool b_first = bound(m_nodes[b]) > bound(m_nodes[a]);
  search(b_first ? b : a, box, bound, score, best, found);
  search(b_first ? a : b, box, bound, score, best, found);
}

const CostPoint* CostTree::likeliest(const CostBox& box, double than) const {
  const CostPoint* found = nullptr;
  search(
      1, box, [](const Node& node) { return node.log_pi; },
      [](const CostPoint& point) { return point.log_pi; }, than, found);
  return found;
}

const CostPoint* CostTree::nearest(const CostBox& box, const CostVector& target,
                                   const CostVector& unit, double than) const {
  const CostPoint* found = nullptr;
  double best = -than;
  const auto at = [&](const CostBox& place) {
    return place.low[0] > place.high[0] ? -infinity : -distance(place, target, unit);
  };
  search(
      1, box, [&](const Node& node) { return at(node.box); },
      [&](const CostPoint& point) {
        return at({point.costs, point.costs});
      },
      best, found);
  return found;
}

}  // namespace elastic
