// SPDX-License-Identifier: Apache-2.0
#include "verbs/pareto.hpp"

#include <algorithm>
#include <numeric>

namespace elastic {

bool dominates(const std::vector<double>& a, const std::vector<double>& b) {
  bool better = false;
  for (std::size_t k = 0; k < a.size(); ++k) {
    if (a[k] > b[k]) return false;
    better = better || a[k] < b[k];
  }
  return better;
}

std::vector<bool> pareto_front(const std::vector<std::vector<double>>& points) {
  std::vector<std::size_t> order(points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  // Nothing is dominated by what comes later, so the front so far decides.
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return points[a] < points[b]; });
  std::vector<bool> on_front(points.size(), false);
  std::vector<std::size_t> front;
  for (const auto i : order) {
    if (std::any_of(front.begin(), front.end(),
                    [&](std::size_t j) { return dominates(points[j], points[i]); }))
      continue;
    on_front[i] = true;
    front.push_back(i);
  }
  return on_front;
}

}  // namespace elastic
