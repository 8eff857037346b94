// SPDX-License-Identifier: Apache-2.0
// Points in the space of up to four costs, in a tree of boxes: the likeliest point of a box of
// costs, and the point nearest to given costs, by branch and bound.
#pragma once
#include <array>
#include <limits>
#include <optional>
#include <vector>

namespace elastic {

constexpr std::size_t max_costs = 4;
using CostVector = std::array<double, max_costs>;  // unused costs are 0

/// Bounds of each cost, both included.
struct CostBox {
  CostVector low = filled(-std::numeric_limits<double>::infinity()),
             high = filled(std::numeric_limits<double>::infinity());
  static constexpr CostVector filled(double x) { return {x, x, x, x}; }
  bool contains(const CostVector& costs) const;
  bool meets(const CostBox& other) const;
};

struct CostPoint {
  CostVector costs{};
  double log_pi = 0;
  std::size_t label = 0;  ///< of the caller
};

class CostTree {
 public:
  explicit CostTree(std::vector<CostPoint> points);
  /// The likeliest point in `box` that is likelier than `than`; null if there is none.
  const CostPoint* likeliest(const CostBox& box, double than) const;
  /// The point in `box` whose largest difference |costs_k - target_k| / unit_k is smallest, and
  /// below `than`; null if there is none.
  const CostPoint* nearest(const CostBox& box, const CostVector& target, const CostVector& unit,
                           double than) const;
  double largest_log_pi() const { return m_nodes[1].log_pi; }
  const CostBox& extent() const { return m_nodes[1].box; }

 private:
  struct Node {
    CostBox box;
    double log_pi = -std::numeric_limits<double>::infinity();
  };
  template <class Bound, class Score>
  void search(std::size_t node, const CostBox& box, const Bound& bound, const Score& score,
              double& best, const CostPoint*& found) const;

  std::vector<CostPoint> m_points;  // by the first cost
  std::vector<Node> m_nodes;        // a heap: children of n are 2n and 2n + 1; leaves hold a point
  std::size_t m_leaves = 1;
};

}  // namespace elastic
