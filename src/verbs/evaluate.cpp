// SPDX-License-Identifier: Apache-2.0
#include "verbs/evaluate.hpp"

#include "comm/all_ranks_agree.hpp"
#include "comm/watchdog.hpp"
#include "config/curriculum.hpp"
#include "elastic/cost_model.hpp"
#include "plan/units.hpp"
#include "state/stored_model.hpp"
#include "train/token_sources.hpp"
#include "verbs/held_out_data.hpp"
#include "verbs/verb_files.hpp"

namespace elastic {
namespace {

/// The submodels of a file that are to be evaluated, see evaluate_checkpoint.
std::vector<SubmodelSpec> choose_specs(const CheckpointReader& reader, const StoredModel& stored,
                                       const std::string& budget) {
  if (!budget.empty()) return {find_submodel(reader, stored, budget)};
  const ModelShape& shape = stored.model->shape();
  auto specs = stored_submodels(reader, shape);
  if (specs.empty() && stored.has_router)
    for (const Budget& trained : trained_budgets(stored.deck.config))
      specs.push_back(find_submodel(reader, stored, trained.name));
  if (specs.empty()) {
    specs.push_back(full_spec(shape));
    specs.back().name = stored.kind == "submodel" ? stored_names(reader).at(0) : "parent";
  }
  return specs;
}

}  // namespace

std::vector<Evaluated> evaluate_checkpoint(const Communicator& comm,
                                           const std::filesystem::path& checkpoint,
                                           const std::string& budget,
                                           const std::vector<std::string>& overrides) {
  StoredModel stored;
  std::vector<SubmodelSpec> specs;
  all_ranks_agree(comm, [&] {
    require_input_file({checkpoint, "the checkpoint"});
    const CheckpointReader reader(checkpoint);
    reader.verify({comm.rank(), comm.size()});
    stored = read_stored_model(reader, overrides);
    require_used("evaluate", overrides, stored.deck.config);
    require_known_words(reader, stored);
    specs = choose_specs(reader, stored, budget);
  });
  const RunConfig& config = stored.deck.config;
  const Watchdog watchdog(comm, config.job.watchdog_seconds);
  Communicator group = comm.split(0, comm.rank());
  group.set_deterministic(config.job.deterministic);
  check_data(group, config);
  Arena arena;
  std::unique_ptr<Validation<Real>> validation;
  all_ranks_agree(comm,
                  [&] { validation = std::make_unique<Validation<Real>>(group, config, arena); });
  const auto& model = *stored.model;
  const index_t seq_length = last_seq_length(make_curriculum(config), config);
  std::vector<Evaluated> results;
  for (const auto& spec : specs) {
    Evaluated result{.name = spec.name,
                     .widths = describe(model.shape(), spec),
                     .parameters = parameter_count(model.shape(), spec),
                     .accuracy = std::nullopt};
    result.valid_loss = validation->losses(model, spec, nullptr, seq_length).cross_entropy;
    if (validation->has_problems()) result.accuracy = validation->accuracy(model, spec);
    results.push_back(result);
  }
  return results;
}

std::string describe(const std::vector<Evaluated>& results) {
  std::string text = fmt::format("{:<10} {:>12} {:>11} {:>9}  widths", "submodel", "parameters",
                                 "valid loss", "accuracy");
  for (const auto& r : results)
    text += fmt::format("\n{:<10} {:>12.0f} {:>11.6f} {:>9}  {}", r.name, r.parameters,
                        r.valid_loss, percent(r.accuracy), r.widths);
  return text;
}

}  // namespace elastic
