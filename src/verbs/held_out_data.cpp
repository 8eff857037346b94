// SPDX-License-Identifier: Apache-2.0
#include "verbs/held_out_data.hpp"

#include <algorithm>

#include "config/curriculum.hpp"
#include "data/character_vocabulary.hpp"
#include "deck/text.hpp"
#include "train/token_sources.hpp"

namespace elastic {
namespace {

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

}  // namespace

void require_used(const std::string& verb, const std::vector<std::string>& overrides,
                  const RunConfig& config, const std::vector<std::string>& more) {
  std::vector<std::string> used = {"job/seed",
                                   "job/deterministic",
                                   "evaluate/samples",
                                   "evaluate/problems",
                                   "elastic/tolerance",
                                   "parallel/micro_batch_size",
                                   "parallel/logit_chunk_tokens",
                                   length_key(config)};
  used.insert(used.end(), more.begin(), more.end());
  for (const auto& text : overrides) {
    const auto slash = text.find('/'), equals = text.find('=');
    const std::string block(impl::trim(text.substr(0, slash)));
    const std::string key(impl::trim(text.substr(slash + 1, equals - slash - 1)));
    if (block == "data" || std::find(used.begin(), used.end(), block + "/" + key) != used.end())
      continue;
    throw InputError(fmt::format("{}: {} does not use <{}>/{}; it uses the keys of <data> and {}",
                                 text, verb, block, key, impl::join(used)));
  }
}

void require_known_words(const CheckpointReader& reader, const StoredModel& stored) {
  const index_t words = stored.shape.vocab_size, needed = data_vocabulary(stored.deck.config.data);
  if (needed > words)
    throw InputError(fmt::format(
        "{}: the model has a vocabulary of {} tokens, the data that <data> describes one of {}",
        reader.path().string(), words, needed));
}

}  // namespace elastic
