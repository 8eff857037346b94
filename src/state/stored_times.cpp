// SPDX-License-Identifier: Apache-2.0
#include "state/stored_times.hpp"

#include <algorithm>

#include "config/seconds_budget.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {
constexpr const char* text_name = "seconds";
}

Inference inference_of(const RunConfig& config) {
  const auto& seconds = config.elastic.seconds;
  return {.decode = seconds.pass == InferencePass::decode,
          .batch = seconds.batch,
          .seq_length = seconds.seq_length};
}

std::string stored_times(const CheckpointReader& reader) {
  const auto texts = reader.texts();
  return std::find(texts.begin(), texts.end(), text_name) == texts.end() ? std::string()
                                                                         : reader.text(text_name);
}

void write_times(CheckpointWriter& file, const std::string& text) { file.text(text_name, text); }

void give_stored_times(const CheckpointReader& reader, RunConfig& config) {
  if (!counts_seconds(config)) return;
  const std::string text = stored_times(reader);
  if (!text.empty())
    give_times(config, text, fmt::format("{} (text {})", reader.path().string(), text_name));
}

std::string read_given_times(const RunConfig& config) {
  const auto& from = config.elastic.seconds.from;
  if (from.empty() || !counts_seconds(config)) return {};
  if (!std::filesystem::is_regular_file(from))
    throw InputError(fmt::format(
        "{}: <elastic>/seconds_from: expected a file that the phase measure of another run wrote "
        "(RUN/seconds.json)",
        from));
  std::string text = read_file(from);
  RunConfig checked = config;
  give_times(checked, text, from);
  return text;
}

}  // namespace elastic
