// SPDX-License-Identifier: Apache-2.0
#include "verbs/evaluate.hpp"

#include <algorithm>

#include "comm/all_ranks_agree.hpp"
#include "comm/watchdog.hpp"
#include "config/curriculum.hpp"
#include "data/character_vocabulary.hpp"
#include "deck/text.hpp"
#include "elastic/cost_model.hpp"
#include "plan/units.hpp"
#include "state/stored_model.hpp"
#include "train/token_sources.hpp"
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

/// Throws InputError for a change of the deck that changes nothing here, naming those that do.
void require_used(const std::vector<std::string>& overrides, const std::string& length_key) {
  const std::vector<std::string> used = {"job/seed",
                                         "job/deterministic",
                                         "evaluate/samples",
                                         "evaluate/problems",
                                         "elastic/tolerance",
                                         "parallel/micro_batch_size",
                                         "parallel/logit_chunk_tokens",
                                         length_key};
  for (const auto& text : overrides) {
    const auto slash = text.find('/'), equals = text.find('=');
    const std::string block(impl::trim(text.substr(0, slash)));
    const std::string key(impl::trim(text.substr(slash + 1, equals - slash - 1)));
    if (block == "data" || std::find(used.begin(), used.end(), block + "/" + key) != used.end())
      continue;
    throw InputError(
        fmt::format("{}: evaluate does not use <{}>/{}; it uses the keys of <data> and {}", text,
                    block, key, impl::join(used)));
  }
}

std::string length_key(const RunConfig& config) {
  const auto stages = make_curriculum(config).stages;
  return (stages.empty() ? "rank" : stages.back().config.name) + "/seq_length";
}

/// Words that the data can hold.
index_t data_vocabulary(const DataConfig& data) {
  switch (data.source) {
    case SourceKind::reasoning:
      return CharacterVocabulary::size;
    case SourceKind::text:
      return TextSource::vocabulary;
    case SourceKind::indexed:
      return data.vocab_size;
  }
  throw_contract("a source of no kind");
}

/// A word that the model has not would be read beyond the end of its tables.
void require_known_words(const CheckpointReader& reader, const StoredModel& stored) {
  const index_t words = stored.shape.vocab_size, needed = data_vocabulary(stored.deck.config.data);
  if (needed > words)
    throw InputError(fmt::format(
        "{}: the model has a vocabulary of {} tokens, the data that <data> describes one of {}",
        reader.path().string(), words, needed));
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
    require_used(overrides, length_key(stored.deck.config));
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
