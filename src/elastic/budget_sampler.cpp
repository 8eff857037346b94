// SPDX-License-Identifier: Apache-2.0
#include "elastic/budget_sampler.hpp"

#include <numeric>

#include "base/error.hpp"

namespace elastic {

index_t sample_budget(std::uint32_t seed, index_t step, index_t micro_batch,
                      const std::vector<double>& probabilities) {
  double total = 0;
  for (const double p : probabilities) {
    ELASTIC_REQUIRE(p >= 0, "budget probability {}", p);
    total += p;
  }
  ELASTIC_REQUIRE(total > 0, "{} budget probabilities without a positive one",
                  probabilities.size());
  const RandomKey key{seed, RandomPurpose::budget, static_cast<std::uint64_t>(step)};
  double rest = total * random_uniform(key, static_cast<std::uint64_t>(micro_batch));
  // Rounding may leave a rest: the last budget with a positive probability takes it.
  index_t last = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] == 0) continue;
    last = static_cast<index_t>(i);
    rest -= probabilities[i];
    if (rest < 0) break;
  }
  return last;
}

std::vector<std::size_t> draw_budgets(std::uint32_t seed, index_t step, index_t micro_batch,
                                      std::vector<double> probabilities, index_t count) {
  std::vector<std::size_t> drawn;
  if (count == static_cast<index_t>(probabilities.size())) {
    drawn.resize(probabilities.size());
    std::iota(drawn.begin(), drawn.end(), std::size_t{0});
    return drawn;
  }
  for (index_t i = 0; i < count; ++i) {
    const auto budget = static_cast<std::size_t>(
        sample_budget(seed + static_cast<std::uint32_t>(i), step, micro_batch, probabilities));
    drawn.push_back(budget);
    probabilities[budget] = 0;
    if (std::accumulate(probabilities.begin(), probabilities.end(), 0.0) == 0) break;
  }
  return drawn;
}

}  // namespace elastic
