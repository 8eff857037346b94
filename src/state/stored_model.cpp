// SPDX-License-Identifier: Apache-2.0
#include "state/stored_model.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "config/extraction.hpp"
#include "deck/text.hpp"
#include "state/checked_values.hpp"
#include "state/state_checkpoint.hpp"
#include "state/stored_times.hpp"

namespace elastic {
namespace {
std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

/// The value of a budget that the user named: a number, or the name of a budget of the deck.
double budget_value(const CheckpointReader& reader, const StoredModel& stored,
                    const std::string& budget, const std::vector<std::string>& names) {
  auto known = names;
  if (stored.has_router)
    for (const auto& [fraction, name] : trained_budgets(stored.deck.config)) {
      if (name == budget) return fraction;
      known.push_back(name);
    }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  const auto value = as_number(budget);
  if (value && *value > 0 && *value <= 1) return *value;
  const auto nearest = impl::nearest(budget, known);
  throw InputError(fmt::format("{}: no budget '{}'; expected a number in (0, 1]{}{}{}",
                               reader.path().string(), budget, known.empty() ? "" : " or one of ",
                               impl::join(known),
                               nearest ? fmt::format("; nearest is '{}'", nearest->name) : ""));
}

/// The choice of the stored router, nested with the submodels that the file holds, or, where it
/// holds none, with those of the trained budgets.
SubmodelSpec choose_with_router(const CheckpointReader& reader, const StoredModel& stored,
                                const std::vector<SubmodelSpec>& specs, double budget) {
  const RunConfig& config = stored.deck.config;
  const ModelShape& shape = stored.shape;
  const ElasticSpace space = stored_space(reader, stored);
  auto router = make_router(config, shape, space);
  read_router(reader, router);
  if (specs.empty()) return choose_submodel(config, shape, space, router, budget);
  return choose_member(config, shape, space, router, budget, specs);
}

/// What a verb does not use is checked as well, so that all of them refuse the same files.
void check_stored_values(const CheckpointReader& reader, const StoredModel& stored) {
  const auto names = stored_names(reader);
  checked_ranking(reader, stored.shape);
  if (stored.kind == "training" || reader.has_attribute("step")) checked_step(reader);
  if (stored.kind == "training" || reader.has_attribute("elastic")) checked_elastic(reader);
  if (stored.kind != "submodel") {
    for (const auto& name : names) checked_spec(reader, stored.shape, name);
    return;
  }
  if (names.size() != 1)
    throw InputError(
        fmt::format("{}: holds the widths of {} submodels, expected those of the one it is",
                    reader.path().string(), names.size()));
  checked_own_spec(reader, stored.shape, names.front());
}

}  // namespace

ElasticSpace stored_space(const CheckpointReader& reader, const StoredModel& stored) {
  return ranked_space(stored.deck.config, stored.shape,
                      read_ranking(reader, stored.shape).drop_order);
}

StoredModel read_stored_head(const CheckpointReader& reader,
                             const std::vector<std::string>& overrides) {
  StoredModel stored;
  stored.kind = checked_kind(reader);
  stored.deck = read_run_config(reader.text("deck"),
                                fmt::format("{} (stored deck)", reader.path().string()), overrides);
  give_stored_times(reader, stored.deck.config);
  stored.shape = read_shape(reader);
  stored.has_router =
      std::any_of(reader.tensors().begin(), reader.tensors().end(),
                  [](const TensorInfo& tensor) { return tensor.name.starts_with("router/"); });
  check_stored_values(reader, stored);
  return stored;
}

StoredModel read_stored_model(const CheckpointReader& reader,
                              const std::vector<std::string>& overrides) {
  StoredModel stored = read_stored_head(reader, overrides);
  stored.model = std::make_unique<LanguageModel<Real>>(stored.shape, /*frozen=*/true);
  read_model(reader, *stored.model);
  return stored;
}

std::vector<std::string> stored_names(const CheckpointReader& reader) {
  std::vector<std::string> names;
  for (const auto& text : reader.texts())
    if (text.starts_with(spec_prefix)) names.push_back(text.substr(spec_prefix.size()));
  return names;
}

std::vector<SubmodelSpec> stored_submodels(const CheckpointReader& reader,
                                           const ModelShape& parent) {
  std::vector<SubmodelSpec> specs;
  if (reader.attribute_as<std::string>("kind") == "submodel") return specs;
  for (const auto& name : stored_names(reader)) specs.push_back(checked_spec(reader, parent, name));
  std::stable_sort(specs.begin(), specs.end(),
                   [](const auto& a, const auto& b) { return a.budget > b.budget; });
  return specs;
}

namespace {
void require_parent(const CheckpointReader& reader, const StoredModel& stored,
                    const std::string& budget) {
  if (stored.kind == "submodel")
    throw InputError(
        fmt::format("{}: is one submodel ({}) already; cut budget {} out of the "
                    "checkpoint that holds its parent",
                    reader.path().string(), impl::join(stored_names(reader)), budget));
}
}  // namespace

SubmodelSpec homogeneous_submodel(const CheckpointReader& reader, const StoredModel& stored,
                                  const std::string& budget) {
  require_parent(reader, stored, budget);
  const double value = budget_value(reader, stored, budget, stored_names(reader));
  try {
    SubmodelSpec spec = homogeneous_submodel(stored.shape, stored_space(reader, stored), value,
                                             choice_rules(stored.deck.config));
    spec.name = budget;
    return spec;
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {} (<elastic>/tolerance of its deck)", reader.path().string(),
                                 error.what()));
  }
}

SubmodelSpec find_submodel(const CheckpointReader& reader, const StoredModel& stored,
                           const std::string& budget) {
  const std::string file = reader.path().string();
  const auto names = stored_names(reader);
  require_parent(reader, stored, budget);
  const auto specs = stored_submodels(reader, stored.shape);
  for (const auto& spec : specs)
    if (spec.name == budget) return spec;
  const double value = budget_value(reader, stored, budget, names);
  for (const auto& spec : specs)
    if (spec.budget == value) return spec;
  if (!stored.has_router)
    throw InputError(fmt::format(
        "{}: holds no router to pick the submodel of budget {}: a checkpoint of kind '{}' from "
        "before the elastic phase",
        file, budget, stored.kind));
  try {
    SubmodelSpec spec = choose_with_router(reader, stored, specs, value);
    spec.name = budget;
    return spec;
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {} (<elastic>/tolerance of its deck)", file, error.what()));
  }
}

}  // namespace elastic
