// SPDX-License-Identifier: Apache-2.0
#include "elastic/budgets.hpp"

#include "base/error.hpp"

namespace elastic {

std::vector<double> budget_blend(const std::vector<double>& trained, double fraction) {
  ELASTIC_REQUIRE(!trained.empty(), "{} trained budgets", trained.size());
  std::vector<double> blend(trained.size(), 0.0);
  std::size_t below = 0;  // the first trained budget that is not above this one
  while (below < trained.size() && trained[below] > fraction) ++below;
  if (below == 0 || below == trained.size()) {
    blend[below == 0 ? 0 : below - 1] = 1;
    return blend;
  }
  const double high = trained[below - 1], low = trained[below];
  blend[below] = (high - fraction) / (high - low);
  blend[below - 1] = 1 - blend[below];
  return blend;
}

}  // namespace elastic
