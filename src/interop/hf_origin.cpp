// SPDX-License-Identifier: Apache-2.0
#include "interop/hf_origin.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "interop/hf_files.hpp"
#include "interop/strict_json.hpp"
#include "io/durable_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

const std::string file_prefix = "hf_file.";
constexpr char end_mark = '.';

bool is_weights(const std::string& name) {
  for (const char* end : {".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt", ".h5",
                          ".gguf", ".onnx", ".msgpack", ".tmp"})
    if (name.ends_with(end)) return true;
  return false;
}

std::vector<fs::path> files_to_copy(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& file : fs::directory_iterator(folder)) {
    const std::string name = file.path().filename().string();
    std::error_code ignored;
    if (!file.is_regular_file(ignored) || !is_plain_file_name(name) || is_weights(name) ||
        name == "config.json" || name == "README.md")
      continue;
    if (file.file_size() >= max_copied_bytes)
      log::warn("{}: has {} bytes and is not kept: copy it beside an export yourself",
                file.path().string(), file.file_size());
    else
      files.push_back(file.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

void write_hf_origin(CheckpointWriter& writer, const HfOrigin& origin) {
  OrderedJson types = OrderedJson::object();
  for (const auto& [name, type] : origin.types) types[name] = name_of(type);
  writer.text("hf.config", origin.config);
  writer.text(
      "hf.origin",
      OrderedJson{{"prefix", origin.prefix}, {"tied", origin.tied}, {"types", types}}.dump());
}

std::optional<HfOrigin> read_hf_origin(const CheckpointReader& reader) {
  if (!reader.has_text("hf.origin")) return std::nullopt;
  const std::string place = reader.path().string() + ": the text hf.origin";
  const OrderedJson json = parse_json(reader.text("hf.origin"), place);
  HfOrigin origin;
  origin.config = reader.text("hf.config");
  try {
    origin.prefix = json.at("prefix").get<std::string>();
    origin.tied = json.at("tied").get<bool>();
    for (const auto& [name, type] : json.at("types").items()) {
      const auto known = element_type_of(type.get<std::string>());
      if (!known || !is_real(*known))
        throw InputError(
            fmt::format("{}: the element type {} of {} is not known", place, type.dump(), name));
      origin.types[name] = *known;
    }
  } catch (const OrderedJson::exception& error) {
    throw InputError(fmt::format("{}: {}", place, error.what()));
  }
  return origin;
}

void write_hf_files(CheckpointWriter& writer, const fs::path& folder) {
  for (const auto& file : files_to_copy(folder))
    writer.text(file_prefix + file.filename().string(), read_file(file) + end_mark);
}

std::size_t restore_hf_files(const CheckpointReader& reader, const fs::path& folder) {
  std::size_t count = 0;
  for (const auto& text : reader.texts()) {
    if (!text.starts_with(file_prefix)) continue;
    const std::string name = text.substr(file_prefix.size());
    std::string content = reader.text(text);
    if (!is_plain_file_name(name) || is_weights(name) || name == "config.json" ||
        !content.ends_with(end_mark))
      throw InputError(fmt::format("{}: the text {} is not a file kept by an import",
                                   reader.path().string(), text));
    content.pop_back();
    write_file_durably(folder / name, content);
    ++count;
  }
  return count;
}

}  // namespace elastic
