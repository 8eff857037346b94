// SPDX-License-Identifier: Apache-2.0
#include "data/dataset_summary.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace elastic {
namespace {
constexpr const char* format_name = "elastic.x dataset summary";
constexpr index_t format_version = 1, most_bytes = 1 << 20;
constexpr std::size_t end_bytes = std::size_t{1} << 20;

constexpr auto crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xEDB88320u : 0u);
    table[i] = value;
  }
  return table;
}();

/// Null if the text is not a summary.
std::optional<DatasetSummary> parse(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.at("format") != format_name || json.at("version") != format_version) return {};
    DatasetSummary s;
    s.tokens = json.at("tokens").get<index_t>();
    s.sequences = json.at("sequences").get<index_t>();
    s.documents = json.at("documents").get<index_t>();
    s.targets = json.at("targets").get<index_t>();
    s.smallest_id = json.at("smallest_id").get<std::int64_t>();
    s.largest_id = json.at("largest_id").get<std::int64_t>();
    s.vocab_size = json.at("vocab_size").get<index_t>();
    s.tokenizer = json.at("tokenizer").get<std::string>();
    s.bin_bytes = json.at("bin_bytes").get<index_t>();
    s.bin_crc32 = json.at("bin_crc32").get<std::uint32_t>();
    if (const auto& mask = json.at("mask_crc32"); !mask.is_null())
      s.mask_crc32 = mask.get<std::uint32_t>();
    return s;
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

/// "" if they agree.
std::string difference(const DatasetSummary& s, const IndexedDataset& dataset) {
  const auto count = [](const char* what, index_t said, index_t found) {
    return said == found ? "" : fmt::format("it says {} {}, there are {}", said, what, found);
  };
  for (const auto& text : {count("bytes of .bin", s.bin_bytes, dataset.bin().size()),
                           count("tokens", s.tokens, dataset.num_tokens()),
                           count("sequences", s.sequences, dataset.num_sequences()),
                           count("documents", s.documents, dataset.num_documents())})
    if (!text.empty()) return text;
  if (s.bin_crc32 != crc32_of_ends(dataset.bin().bytes())) return "it is about another .bin";
  if (!dataset.mask()) return "";
  if (!s.mask_crc32) return "it knows no .mask";
  return *s.mask_crc32 == crc32_of_ends(dataset.mask()->bytes()) ? "" : "it is about another .mask";
}

}  // namespace

std::uint32_t crc32_of_ends(std::span<const std::byte> bytes) {
  const std::size_t part = std::min(bytes.size(), end_bytes);
  std::uint32_t crc = ~0u;
  for (const auto& piece : {bytes.first(part), bytes.last(part)})
    for (const std::byte b : piece)
      crc = crc_table[(crc ^ std::to_integer<std::uint32_t>(b)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

std::string to_json(const DatasetSummary& s) {
  nlohmann::ordered_json json = {
      {"format", format_name},        {"version", format_version},  {"tokens", s.tokens},
      {"sequences", s.sequences},     {"documents", s.documents},   {"targets", s.targets},
      {"smallest_id", s.smallest_id}, {"largest_id", s.largest_id}, {"vocab_size", s.vocab_size},
      {"tokenizer", s.tokenizer},     {"bin_bytes", s.bin_bytes},   {"bin_crc32", s.bin_crc32},
      {"mask_crc32", nullptr}};
  if (s.mask_crc32) json["mask_crc32"] = *s.mask_crc32;
  return json.dump(1) + "\n";
}

DatasetSummary summarize(const IndexedDataset& dataset, const std::string& tokenizer) {
  DatasetSummary s{.tokens = dataset.num_tokens(),
                   .sequences = dataset.num_sequences(),
                   .documents = dataset.num_documents(),
                   .vocab_size = dataset.vocab_size(),
                   .tokenizer = tokenizer,
                   .bin_bytes = dataset.bin().size(),
                   .bin_crc32 = crc32_of_ends(dataset.bin().bytes()),
                   .mask_crc32 = {}};
  if (dataset.mask()) s.mask_crc32 = crc32_of_ends(dataset.mask()->bytes());
  std::vector<token_t> ids;
  for (index_t d = 0; d < s.documents; ++d) {
    s.targets += dataset.num_targets(d);
    ids.resize(static_cast<std::size_t>(dataset.document_length(d)));
    dataset.read(d, 0, ids);
    for (const std::int64_t id : ids) {
      s.smallest_id = s.largest_id < 0 ? id : std::min(s.smallest_id, id);
      s.largest_id = std::max(s.largest_id, id);
    }
  }
  return s;
}

std::optional<DatasetSummary> read_summary(const std::string& prefix, const IndexedDataset& dataset,
                                           std::string& why_not) {
  why_not.clear();
  const std::string path = prefix + ".json";
  std::error_code missing;
  if (!std::filesystem::exists(path, missing)) return {};
  std::optional<DatasetSummary> summary;
  try {
    const MappedFile file(path);
    if (file.size() <= most_bytes)
      summary = parse({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
    why_not = summary ? difference(*summary, dataset) : "it is not a summary of this program";
  } catch (const InputError& error) {
    why_not = error.what();
  }
  if (why_not.empty()) return summary;
  return {};
}

void require_known_ids(const std::string& prefix, const DatasetSummary& summary,
                       const IndexedDataset& dataset) {
  if (summary.tokens == 0 ||
      (summary.smallest_id >= 0 && summary.largest_id < dataset.vocab_size()))
    return;
  throw InputError(fmt::format(
      "{}.json: the ids of {} lie between {} and {}; expected ids of the vocabulary [0, {})",
      prefix, dataset.bin().path(), summary.smallest_id, summary.largest_id, dataset.vocab_size()));
}

}  // namespace elastic
