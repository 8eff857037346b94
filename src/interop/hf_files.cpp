// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_files.hpp"

#include <set>

#include "base/error.hpp"
#include "interop/strict_json.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace {
constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";
}  // namespace

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.size() < 256 &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

HfWeights::HfWeights(const std::filesystem::path& folder) : m_folder(folder) {
  if (std::filesystem::exists(folder / single_name))
    add(std::make_unique<SafetensorsReader>(folder / single_name));
  else if (std::filesystem::exists(folder / index_name))
    open_index(folder / index_name);
  else
    throw InputError(
        fmt::format("{}: holds neither {} nor {}", folder.string(), single_name, index_name));
}

void HfWeights::add(std::unique_ptr<SafetensorsReader> file) {
  for (const auto& entry : file->entries())
    if (!m_tensors.emplace(entry.name, Tensor{file.get(), &entry}).second)
      throw InputError(fmt::format("{}: tensor '{}' stands in another file too",
                                   file->path().string(), entry.name));
  m_files.push_back(std::move(file));
}

void HfWeights::open_index(const std::filesystem::path& index) {
  const auto refuse = [&](const std::string& reason) {
    throw InputError(fmt::format("{}: {}", index.string(), reason));
  };
  const OrderedJson json = parse_json(read_json_text(index), index.string());
  if (!json.is_object() || !json.contains("weight_map") || !json.at("weight_map").is_object())
    refuse("lacks the object weight_map");
  std::map<std::string, std::string> place;
  std::set<std::string> names;
  for (const auto& [tensor, file] : json.at("weight_map").items()) {
    if (!file.is_string() || !is_plain_file_name(file.get<std::string>()))
      refuse(fmt::format("the file of '{}' is {}, expected a name in the same folder", tensor,
                         file.dump()));
    place[tensor] = file.get<std::string>();
    names.insert(place[tensor]);
  }
  for (const auto& name : names) add(std::make_unique<SafetensorsReader>(m_folder / name));
  for (const auto& [tensor, at] : m_tensors) {
    const auto expected = place.find(tensor);
    if (expected == place.end() || expected->second != at.file->path().filename())
      refuse(fmt::format("'{}' is in {}, {}", tensor, at.file->path().filename().string(),
                         expected == place.end() ? "which weight_map does not say"
                                                 : "weight_map says " + expected->second));
  }
  for (const auto& [tensor, file] : place)
    if (!m_tensors.contains(tensor))
      refuse(fmt::format("'{}' should be in {}, which lacks it", tensor, file));
}

const HfWeights::Tensor& HfWeights::at(const std::string& name) const {
  const auto found = m_tensors.find(name);
  if (found == m_tensors.end())
    throw InputError(
        fmt::format("{}: no tensor '{}' among its {}", m_folder.string(), name, m_tensors.size()));
  return found->second;
}

std::uint64_t HfWeights::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [name, tensor] : m_tensors) sum += tensor.entry->bytes();
  return sum;
}

HfWeightsWriter::HfWeightsWriter(const std::filesystem::path& folder,
                                 const std::vector<SafetensorsTensor>& tensors,
                                 std::uint64_t max_shard_bytes)
    : m_folder(folder) {
  std::vector<std::vector<SafetensorsTensor>> shards;
  std::uint64_t filled = max_shard_bytes;
  for (const auto& tensor : tensors) {
    if (shards.empty() || filled + tensor.bytes() > max_shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(tensor);
    filled += tensor.bytes();
    m_total_bytes += tensor.bytes();
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    m_file_names.push_back(
        shards.size() == 1 ? single_name
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    for (const auto& tensor : shards[i]) m_file_of[tensor.name] = i;
    m_files.emplace_back(folder / m_file_names[i], shards[i]);
  }
}

void HfWeightsWriter::write(const std::string& name, const void* data) {
  const auto at = m_file_of.find(name);
  ELASTIC_REQUIRE(at != m_file_of.end(), "{} is not planned", name);
  m_files[at->second].write(name, data);
}

void HfWeightsWriter::commit() {
  for (auto& file : m_files) file.commit();
  if (m_files.size() == 1) return;
  OrderedJson map = OrderedJson::object();
  for (const auto& [name, file] : m_file_of) map[name] = m_file_names[file];
  write_file_durably(
      m_folder / index_name,
      dump_json({{"metadata", {{"total_size", m_total_bytes}}}, {"weight_map", map}}));
}

}  // namespace elastic
