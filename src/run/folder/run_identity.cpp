// SPDX-License-Identifier: Apache-2.0
#include "run/folder/run_identity.hpp"

#include <array>
#include <cstdint>
#include <random>
#include <sstream>

#include "io/durable_file.hpp"
#include "state/checked_values.hpp"

namespace elastic {
namespace {

constexpr const char* id_name = "run_id";
constexpr const char* parent_name = "parent_hash";

bool is_id(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string text_attribute(const CheckpointReader& file, const char* name) {
  return file.has_attribute(name) ? file.attribute_as<std::string>(name) : "";
}

}  // namespace

std::string new_run_id() {
  std::random_device entropy;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", static_cast<std::uint32_t>(entropy()));
  return id;
}

std::optional<RunIdentity> read_run_identity(const std::filesystem::path& file) {
  if (!std::filesystem::exists(file)) return std::nullopt;
  std::istringstream words(read_file(file));
  std::string what, id;
  index_t steps_without_id = -1;
  while (words >> what)
    if (what == "id")
      words >> id;
    else if (what == "steps_without_id")
      words >> steps_without_id;
  if (!is_id(id))
    throw InputError(fmt::format(
        "{}: holds no id of a run (32 hexadecimal digits after the word id); remove it, and "
        "--resume takes the id of the newest checkpoint",
        file.string()));
  auto identity = std::make_optional<RunIdentity>();
  identity->id.assign(id);
  identity->steps_without_id = steps_without_id;
  return identity;
}

void write_run_identity(const std::filesystem::path& file, const RunIdentity& identity) {
  std::string text = fmt::format("id {}\n", identity.id);
  if (identity.steps_without_id >= 0)
    text += fmt::format("steps_without_id {}\n", identity.steps_without_id);
  write_file_durably(file, text);
}

void write_file_identity(CheckpointWriter& file, const FileIdentity& identity) {
  if (!identity.run_id.empty()) file.attribute(id_name, identity.run_id);
  if (!identity.parent_hash.empty()) file.attribute(parent_name, identity.parent_hash);
}

FileIdentity read_file_identity(const CheckpointReader& file) {
  return {text_attribute(file, id_name), text_attribute(file, parent_name)};
}

CheckpointHead read_head(const CheckpointReader& file) {
  return {.identity = read_file_identity(file),
          .step = checked_step(file),
          .elastic = checked_elastic(file),
          .deck = file.text("deck"),
          .data_files = file.has_text("data_files") ? file.text("data_files") : ""};
}

void require_same_run(const RunIdentity& run, const CheckpointHead& head,
                      const std::filesystem::path& checkpoint) {
  const std::string& found = head.identity.run_id;
  if (found == run.id || (found.empty() && head.step <= run.steps_without_id)) return;
  throw InputError(fmt::format(
      "{}: is not of this run: it holds the id {}, the folder (run.id) {}. Move it out of the "
      "folder",
      checkpoint.string(), found.empty() ? "of no run" : found, run.id));
}

}  // namespace elastic
