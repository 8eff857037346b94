// SPDX-License-Identifier: Apache-2.0
// Printing of the key reference, see reference.hpp.
#include "deck/reference.hpp"

#include <fmt/format.h>

#include "deck/text.hpp"

namespace elastic {
namespace {

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

std::string default_of(const SchemaKey& key) {
  if (key.options.required) return "required";
  return key.default_text.empty() ? "empty" : key.default_text;
}

std::string markdown_row(const SchemaKey& key) {
  const bool is_value = !key.options.required && !key.default_text.empty();
  const std::string value = is_value ? fmt::format("`{}`", default_of(key)) : default_of(key);
  return fmt::format("| `{}` | {} | {} | {} | {} |\n", key.name, cell(value), cell(key.expected),
                     cell(key.options.unit), cell(key.options.help));
}

std::string text_of(const SchemaBlock& block) {
  std::string out = fmt::format("<{}>{}  {}\n", block.name(),
                                block.is_optional() ? " (optional)" : "", block.help());
  for (const SchemaKey& key : block.keys()) {
    const std::string& unit = key.options.unit;
    out += fmt::format("  {} = {}    # {}{}{}\n", key.name, default_of(key), key.expected,
                       unit.empty() || unit == "1" ? "" : "; ", unit == "1" ? "" : unit);
    if (!key.options.help.empty()) out += fmt::format("      {}\n", key.options.help);
  }
  return out;
}

}  // namespace

std::string reference_markdown(const Schema& schema) {
  std::string out;
  for (const SchemaBlock& block : schema.blocks()) {
    out += fmt::format("{}## `<{}>`\n\n{}{}\n\n", out.empty() ? "" : "\n", block.name(),
                       block.help(), block.is_optional() ? " Optional block." : "");
    out += "| key | default | type and range | unit | description |\n|---|---|---|---|---|\n";
    for (const SchemaKey& key : block.keys()) out += markdown_row(key);
  }
  return out;
}

std::string reference_text(const Schema& schema, const std::string& block) {
  if (!block.empty()) {
    if (const SchemaBlock* found = schema.find(block)) return text_of(*found);
    const auto near = impl::nearest(block, schema.block_names());
    throw InputError(near ? fmt::format("unknown block '{}'; nearest valid name '{}'",
                                        impl::shorten(block), near->name)
                          : fmt::format("unknown block '{}'; the blocks are {}",
                                        impl::shorten(block), impl::join(schema.block_names())));
  }
  std::string out;
  for (const SchemaBlock& each : schema.blocks())
    out.append(out.empty() ? "" : "\n").append(text_of(each));
  return out;
}

}  // namespace elastic
