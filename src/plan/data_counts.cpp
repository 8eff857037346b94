// SPDX-License-Identifier: Apache-2.0
#include "plan/data_counts.hpp"

#include <cmath>
#include <filesystem>
#include <numeric>

#include "config/curriculum.hpp"
#include "config/indexed_data.hpp"
#include "data/dataset_summary.hpp"
#include "plan/units.hpp"

namespace elastic {
namespace {
constexpr index_t most_counted = index_t{1} << 30;  // bytes of a mask: about a second
constexpr index_t most_read = index_t{1} << 24;     // ids that a plan looks at: a tenth of a second

bool is_there(const std::string& path) {
  std::error_code unknown;
  return std::filesystem::exists(path, unknown);
}

/// Throws InputError if the summary knows of ids beyond the vocabulary,
/// or, without one, some of the ids.
std::optional<index_t> targets_of(const std::string& prefix, const IndexedDataset& dataset) {
  std::string why_not;
  const auto summary = read_summary(prefix, dataset, why_not);
  if (summary)
    require_known_ids(prefix, *summary, dataset);
  else
    dataset.check_ids({}, most_read);
  // A summary of masked files counts the targets of the mask, also if the deck ignores it.
  if (summary && dataset.mask()) return summary->targets;
  if (dataset.mask() && dataset.num_tokens() > most_counted) return {};
  index_t targets = 0;
  for (index_t d = 0; d < dataset.num_documents(); ++d) targets += dataset.num_targets(d);
  return targets;
}

DataCount count_indexed(const DataConfig& data, const std::string& prefix) {
  const IndexedDataset dataset(prefix, data.vocab_size, uses_mask(data, prefix));
  DataCount count{.name = prefix,
                  .sequences = dataset.num_sequences(),
                  .documents = dataset.num_documents(),
                  .tokens = dataset.num_tokens(),
                  .targets = targets_of(prefix, dataset),
                  .masked = dataset.mask() != nullptr};
  const index_t every = validation_every(data);
  for (index_t d = 0; d < count.documents; ++d)
    if (d % every != every - 1) count.training_tokens += dataset.document_length(d);
  return count;
}

DataCount count_text(const DataConfig& data, const std::string& file) {
  const auto size = static_cast<index_t>(std::filesystem::file_size(file));
  return {.name = file,
          .sequences = 1,
          .documents = 1,
          .tokens = size,
          .training_tokens = std::llround(static_cast<double>(size) *  //
                                          (1 - data.validation_fraction)),
          .targets = std::max<index_t>(0, size - 1)};
}

/// Each file's part of the samples: its weight, or, of text, its size.
void set_shares(const DataConfig& data, std::vector<DataCount>& counts) {
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i].share = data.source == SourceKind::text
                          ? static_cast<double>(counts[i].training_tokens)
                      : data.weights.empty() ? 1.0
                                             : data.weights[i];
    sum += counts[i].share;
  }
  for (DataCount& count : counts) count.share = sum > 0 ? count.share / sum : 0;
}

double planned_tokens(const RunConfig& config) {
  double tokens = 0;
  for (const Stage& stage : make_curriculum(config).stages)
    tokens += static_cast<double>(stage.steps) * static_cast<double>(stage.tokens_per_step());
  return tokens;
}

std::string epoch_text(const DataCount& count) {
  const std::string text = fmt::format("{:.2f} epochs of its {} tokens for training", count.epochs,
                                       grouped(static_cast<double>(count.training_tokens)));
  return count.epochs > 1 ? text + "; warning: more than one, so that texts repeat" : text;
}

}  // namespace

std::vector<DataCount> count_data(const RunConfig& config) {
  const DataConfig& data = config.data;
  if (data.source == SourceKind::reasoning) return {};
  const bool text = data.source == SourceKind::text;
  std::vector<DataCount> counts;
  for (const auto& name : data.train) {
    const bool there = text ? is_there(name) : is_there(name + ".bin") && is_there(name + ".idx");
    if (!there)
      counts.push_back({.name = name, .targets = {}});
    else
      counts.push_back(text ? count_text(data, name) : count_indexed(data, name));
  }
  set_shares(data, counts);
  const double planned = planned_tokens(config);
  for (DataCount& count : counts)
    if (count.training_tokens > 0)
      count.epochs = planned * count.share / static_cast<double>(count.training_tokens);
  std::erase_if(counts, [](const DataCount& count) { return count.tokens == 0; });
  return counts;
}

std::string data_lines(const RunConfig& config) {
  std::string text;
  const auto number = [](index_t count) { return grouped(static_cast<double>(count)); };
  for (const DataCount& count : count_data(config)) {
    const std::string what =
        config.data.source == SourceKind::text
            ? fmt::format("{} tokens (bytes)", number(count.tokens))
            : fmt::format("{} sequences, {} documents, {} tokens, {} targets{}",
                          number(count.sequences), number(count.documents), number(count.tokens),
                          count.targets ? number(*count.targets) : "uncounted",
                          count.masked ? " (.mask)" : "") +
                  (count.targets == 0 ? "; warning: a run on them is refused" : "");
    text += plan_line(text.empty() ? "data" : "", fmt::format("{}: {}", count.name, what));
    text += plan_line(
        "", fmt::format("  {:.1f}% of the samples; {}", 100 * count.share, epoch_text(count)));
  }
  return text;
}

}  // namespace elastic
