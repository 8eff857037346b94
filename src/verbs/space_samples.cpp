// SPDX-License-Identifier: Apache-2.0
#include "verbs/space_samples.hpp"

#include <algorithm>

#include "elastic/family.hpp"

namespace elastic {
namespace {

/// Number `place` in the order of next_choice.
std::vector<index_t> choice_at(const std::vector<Decision>& decisions, double place) {
  std::vector<index_t> choice;
  auto rest = static_cast<std::uint64_t>(place);
  for (const auto& decision : decisions) {
    choice.push_back(static_cast<index_t>(rest % decision.widths.size()));
    rest /= decision.widths.size();
  }
  return choice;
}

}  // namespace

std::vector<SubmodelSpec> grid_submodels(const ModelShape& parent, const ElasticSpace& space,
                                         index_t most) {
  ELASTIC_REQUIRE(most > 0, "a grid of {} submodels", most);
  const ElasticSpace alike = homogeneous_space(space);
  const auto decisions = list_decisions(parent, alike);
  double all = 1;
  for (const auto& decision : decisions) all *= static_cast<double>(decision.widths.size());
  const auto count = static_cast<index_t>(std::min(all, static_cast<double>(most)));
  std::vector<SubmodelSpec> specs;
  for (index_t i = 0; i < count; ++i) {
    const double part = count == 1 ? 0 : static_cast<double>(i) / static_cast<double>(count - 1);
    specs.push_back(spec_of_choices(parent, alike, decisions,
                                    choice_at(decisions, std::min(part * (all - 1) + 0.5, 1e15))));
  }
  return specs;
}

SubmodelSpec random_submodel(const ModelShape& parent, const ElasticSpace& space,
                             const std::vector<Decision>& decisions, const RandomKey& key,
                             std::uint64_t index) {
  const std::uint64_t first = index * (decisions.size() + 2);
  const double place = random_uniform(key, first), spread = random_uniform(key, first + 1);
  std::vector<index_t> choice;
  for (std::size_t d = 0; d < decisions.size(); ++d) {
    const double part = (1 - spread) * place + spread * random_uniform(key, first + 2 + d);
    const auto count = static_cast<index_t>(decisions[d].widths.size());
    choice.push_back(std::min(count - 1, static_cast<index_t>(part * static_cast<double>(count))));
  }
  return spec_of_choices(parent, space, decisions, choice);
}

}  // namespace elastic
