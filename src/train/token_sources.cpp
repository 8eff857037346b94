// SPDX-License-Identifier: Apache-2.0
#include "train/token_sources.hpp"

#include "base/log.hpp"
#include "comm/all_ranks_agree.hpp"
#include "config/indexed_data.hpp"
#include "data/blended_source.hpp"
#include "data/dataset_summary.hpp"
#include "data/indexed_source.hpp"
#include "data/reasoning_source.hpp"

namespace elastic {
namespace {

std::unique_ptr<TokenSource> make_indexed(const DataConfig& data, std::uint32_t seed,
                                          std::uint64_t stream) {
  std::vector<std::unique_ptr<TokenSource>> sources;
  for (const auto& file : data.train)
    sources.push_back(std::make_unique<IndexedSource>(
        IndexedSourceConfig{.prefix = file,
                            .vocab_size = data.vocab_size,
                            .validation_every = validation_every(data),
                            .with_mask = uses_mask(data, file)},
        seed, stream));
  if (sources.size() == 1) return std::move(sources.front());
  auto weights = data.weights;
  if (weights.empty()) weights.assign(sources.size(), 1.0);
  return std::make_unique<BlendedSource>(std::move(sources), weights);
}

/// By its summary where it has one of its own, otherwise by looking at the tokens.
void check_dataset(const Communicator& comm, const DataConfig& data, const std::string& prefix) {
  const IndexedDataset dataset(prefix, data.vocab_size, uses_mask(data, prefix));
  std::string why_not;
  const auto summary = read_summary(prefix, dataset, why_not);
  if (summary) return require_known_ids(prefix, *summary, dataset);
  if (!why_not.empty())
    log::warn("{}.json is not used: {}; the tokens of {} are read instead", prefix, why_not,
              dataset.bin().path());
  dataset.check_ids({comm.rank(), comm.size()});
}

}  // namespace

ReasoningConfig reasoning_config(const RunConfig& config) {
  ReasoningConfig reasoning = config.data.reasoning;
  reasoning.families.clear();
  for (const auto& name : config.data.families)
    reasoning.families.push_back(family_from_name(name));
  return reasoning;
}

void check_data(const Communicator& comm, const RunConfig& config) {
  if (config.data.source != SourceKind::indexed) return;
  all_ranks_agree(comm, [&] {
    for (const auto& file : config.data.train) check_dataset(comm, config.data, file);
  });
}

std::unique_ptr<TokenSource> make_source(const RunConfig& config, std::uint64_t stream) {
  const auto seed = static_cast<std::uint32_t>(config.job.seed);
  switch (config.data.source) {
    case SourceKind::reasoning:
      return std::make_unique<ReasoningSource>(reasoning_config(config), seed, stream);
    case SourceKind::text:
      return std::make_unique<TextSource>(
          TextSourceConfig{.files = config.data.train,
                           .validation_fraction = config.data.validation_fraction},
          seed, stream);
    case SourceKind::indexed:
      return make_indexed(config.data, seed, stream);
  }
  throw_contract("unknown token source");
}

}  // namespace elastic
