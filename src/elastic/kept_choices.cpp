// SPDX-License-Identifier: Apache-2.0
#include "elastic/kept_choices.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace elastic {
namespace {

/// Zeroes what is below epsilon (never the largest), renormalises the rest and returns its sum.
double drop_small(std::vector<double>& pi, double epsilon) {
  const double largest = *std::max_element(pi.begin(), pi.end());
  double kept = 0;
  for (double& p : pi) {
    if (p < epsilon && p < largest) p = 0;
    kept += p;
  }
  for (double& p : pi) p = kept == largest ? (p > 0 ? 1.0 : 0.0) : p / kept;
  return kept;
}

}  // namespace

KeptChoices keep_choices(const RouterDraw& draw, double epsilon) {
  KeptChoices kept{draw.value, draw.soft, {}};
  ELASTIC_REQUIRE(kept.value.size() == kept.soft.size(), "{} lists for {} of the soft draw",
                  kept.value.size(), kept.soft.size());
  for (std::size_t d = 0; d < kept.soft.size(); ++d) {
    auto &value = kept.value[d], &soft = kept.soft[d];
    ELASTIC_REQUIRE(value.size() == soft.size() && !soft.empty(),
                    "{} probabilities for {} of the soft draw", value.size(), soft.size());
    if (!std::all_of(soft.begin(), soft.end(), [](double p) { return std::isfinite(p); }))
      throw NumericsError(
          fmt::format("router: the probabilities of decision {} are not finite", d));
    drop_small(value, epsilon);
    kept.sum.push_back(drop_small(soft, epsilon));
    for (std::size_t i = 0; i < soft.size(); ++i)
      ELASTIC_REQUIRE(value[i] == 0 || soft[i] > 0, "choice {} of decision {} is taken and dropped",
                      i, d);
  }
  return kept;
}

Probabilities keep_choices_backward(const KeptChoices& kept, const Probabilities& dvalue) {
  ELASTIC_REQUIRE(dvalue.size() == kept.soft.size(), "{} lists for {} decisions", dvalue.size(),
                  kept.soft.size());
  Probabilities dpi = dvalue;
  for (std::size_t d = 0; d < dpi.size(); ++d) {
    const auto& pi = kept.soft[d];
    ELASTIC_REQUIRE(dpi[d].size() == pi.size(), "{} gradients for {} choices", dpi[d].size(),
                    pi.size());
    double mean = 0;
    for (std::size_t i = 0; i < pi.size(); ++i) mean += pi[i] * dpi[d][i];
    for (std::size_t i = 0; i < pi.size(); ++i)
      dpi[d][i] = pi[i] > 0 ? (dpi[d][i] - mean) / kept.sum[d] : 0;
  }
  return dpi;
}

}  // namespace elastic
